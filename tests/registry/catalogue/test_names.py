from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import UsageError
from localchat.registry.catalogue import names
from localchat.registry.catalogue.names import CatalogueName, HubName, Parsed, PathName, UrlName


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen3-4b", CatalogueName("qwen3-4b")),
        ("Qwen3-4B:q8_0", CatalogueName("Qwen3-4B:q8_0")),
        ("owner/repo", HubName("owner/repo")),
        ("Owner/Repo-1.5_B", HubName("Owner/Repo-1.5_B")),
        ("owner/repo:q4_k_m", HubName("owner/repo", tag="Q4_K_M")),
        ("owner/repo:UD-Q4_K_XL", HubName("owner/repo", tag="UD-Q4_K_XL")),
        ("owner/repo@v1", HubName("owner/repo", revision="v1")),
        ("owner/repo:F16@refs/pr/3", HubName("owner/repo", tag="F16", revision="refs/pr/3")),
        ("hf:owner/repo", HubName("owner/repo")),
        ("HF:owner/repo:bf16", HubName("owner/repo", tag="BF16")),
        ("hf:owner/repo/a.gguf", HubName("owner/repo", file="a.gguf")),
        ("hf:owner/repo/A (b)/c d.GGUF", HubName("owner/repo", file="A (b)/c d.GGUF")),
        ("hf:owner/repo/a.gguf@main", HubName("owner/repo", file="a.gguf", revision="main")),
        ("hf://owner/repo/a.gguf", HubName("owner/repo", file="a.gguf")),
        ("https://example.org/a.gguf", UrlName("https://example.org/a.gguf")),
        ("HTTP://127.0.0.1/a.gguf?x=1", UrlName("HTTP://127.0.0.1/a.gguf?x=1")),
        ("./file.gguf", PathName("./file.gguf")),
        ("/models/file.gguf", PathName("/models/file.gguf")),
        ("file.gguf", PathName("file.gguf")),
        ("File.GGUF", PathName("File.GGUF")),
        ("owner/repo/file.gguf", PathName("owner/repo/file.gguf")),
        ("~/model", PathName("~/model")),
        ("../owner/repo", PathName("../owner/repo")),
        ("./owner/repo", PathName("./owner/repo")),
        ("/owner/repo", PathName("/owner/repo")),
        ("a/b/c", PathName("a/b/c")),
    ],
)
def test_what_a_name_means(text: str, expected: Parsed) -> None:
    assert names.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        " ",
        "a b",
        "\0",
        "..",
        "-x",
        "--index-url=evil",
        "\x1b]52;c;eA==\x07",
    ],
)
def test_what_can_only_be_looked_for_in_the_catalogue(text: str) -> None:
    assert names.parse(text) == CatalogueName(text)


@pytest.mark.parametrize(
    "text",
    [
        "../..",
        "owner/..",
        "owner/a..b",
        "owner/re\0po",
        "owner/repo\n",
        "owner/ repo",
        "-owner/repo",
        "--option/repo",
        "owner/-repo",
        ".owner/repo",
        "owner/repo:",
        "owner/repo:-Q4_K_M",
        "owner/repo@",
        "owner/repo@-x",
        "owner/repo@../main",
        "owner/repo:Q4@main:Q8",
        "owner//repo",
        "owner/",
        "öwner/repo",
    ],
)
def test_what_is_no_name_of_the_hub(text: str) -> None:
    assert names.parse(text) == PathName(text)
    with pytest.raises(UsageError, match="is no name of a model on the hub") as caught:
        names.parse(f"hf:{text}")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:owner",
        "hf:owner/repo/../a.gguf",
        "hf:owner/repo/a.gguf:Q4",
        "hf:owner/repo/a.bin",
        "hf:owner/repo/.gguf/",
        "hf:owner/repo/a\0b.gguf",
        "hf:owner/repo/a\x1b[2Jb.gguf",
    ],
)
def test_what_is_no_file_of_the_hub(text: str) -> None:
    with pytest.raises(UsageError, match="is no name of a model on the hub"):
        names.parse(text)


def test_what_is_here_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names.parse("owner/repo") == HubName("owner/repo")
    (tmp_path / "owner" / "repo").mkdir(parents=True)
    assert names.parse("owner/repo") == PathName("owner/repo")
    assert names.parse("hf:owner/repo") == HubName("owner/repo"), "said plainly"
    (tmp_path / "owner" / "link").symlink_to("nowhere")
    assert names.parse("owner/link") == PathName("owner/link")


HUB_NAMES = st.builds(
    HubName,
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,5}/[A-Za-z0-9][A-Za-z0-9_-]{0,5}", fullmatch=True),
    st.none(),
    st.none() | st.sampled_from(["Q4_K_M", "UD-IQ2_XXS", "F16"]),
    st.none() | st.from_regex(r"[a-z0-9][a-z0-9-]{0,5}(/[a-z0-9]+)?", fullmatch=True),
) | st.builds(
    HubName,
    st.just("Owner/Repo"),
    st.from_regex(r"[A-Za-z0-9 ()+_-]{1,9}(/[A-Za-z0-9]{1,5})?\.gguf", fullmatch=True),
    st.none(),
    st.none() | st.just("main"),
)


@given(HUB_NAMES)
def test_a_name_of_the_hub_is_written_as_it_is_read(name: HubName) -> None:
    assert names.parse(str(name)) == name


@given(st.text(max_size=20) | st.text("/.:@-gufhab\0 ", max_size=20))
def test_any_text_means_something_or_is_a_usage_error(text: str) -> None:
    try:
        parsed = names.parse(text)
    except UsageError:
        return
    if isinstance(parsed, HubName):
        assert ".." not in str(parsed)
        assert not parsed.repo.startswith(("-", "/", "."))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "Q4_K_XL"),
        ("Qwen3-30B-A3B-IQ4_XS.gguf", "IQ4_XS"),
        ("model-UD-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-IQ4_NL.gguf", "IQ4_NL"),
        ("gemma-3-1b-it-q4_0.gguf", "Q4_0"),
        ("llama-2-7b.Q4_K_M.gguf", "Q4_K_M"),
        ("model_q5_1.gguf", "Q5_1"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("Qwen3-4B-BF16.gguf", "BF16"),
        ("ggml-model-f16.gguf", "F16"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("model-fp32.gguf", "F32"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("model-Q4_K_M_imatrix.gguf", "Q4_K_M"),
        ("Model-Q8_0-00001-of-00003.gguf", "Q8_0"),
        ("mmproj-F16.gguf", "F16"),
        ("Q4_K_M.gguf", "Q4_K_M"),
        ("gguf/Q4_K_M.gguf", "Q4_K_M"),
        ("Q6_K/model-00001-of-00002.gguf", "Q6_K"),
        ("Q6_K/model-Q4_0.gguf", "Q4_0"),
        ("Q6_K/more/model.gguf", None),
        ("q4/Qwen2.5-3B.gguf", "Q4"),
        ("Qwen3-4B.gguf", None),
        ("MiniCPM-o-2_6.gguf", None),
        ("xQ4_K_M.gguf", None),
        ("f16x.gguf", None),
        ("", None),
    ],
)
def test_the_quantization_that_a_file_tells(file: str, expected: str | None) -> None:
    assert names.quantization(file) == expected
