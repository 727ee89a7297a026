"""What names of the hub and addresses offer, asked of a hub on this machine."""

from __future__ import annotations

from hashlib import sha256

import pytest

from localchat.errors import ModelNotFound, UsageError
from localchat.registry.catalogue import catalog, names, offers
from localchat.registry.catalogue.manifest import HubSource
from localchat.registry.catalogue.names import HubName
from localchat.registry.catalogue.offers import Offer
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.faults import Fault, Kind
from tests.registry.hub import Hub

pytestmark = pytest.mark.usefixtures("at_hub")

REPO = "Maker/Model-GGUF"


def fill(hub: Hub, *paths: str) -> None:
    """Files with contents of their own: their paths."""
    for path in paths:
        hub.add(REPO, path, path.encode())


def digest(path: str) -> str:
    return sha256(path.encode()).hexdigest()


def offer(name: str) -> Offer:
    wanted = names.parse(name)
    assert isinstance(wanted, HubName)
    return offers.of_hub(wanted, token=False, note=Quiet().note)


def files(found: Offer) -> list[str]:
    """Paths of the weights in their repository."""
    sources = [offers.hub_source(blob) for blob in found.file.blobs]
    return [source.file for source in sources if source]


def test_a_file_is_pinned_to_the_commit_and_the_digest_of_the_listing(hub: Hub) -> None:
    fill(hub, "a-Q4_K_M.gguf")
    found = offer(REPO)
    assert found.file.size == len("a-Q4_K_M.gguf")
    assert found.file.sha256 == digest("a-Q4_K_M.gguf")
    assert found.file.sources == (
        HubSource(repo=REPO, file="a-Q4_K_M.gguf", revision=hub.commit(REPO)),
    )
    assert found.file.quantization == "Q4_K_M"
    assert found.name == f"{REPO}:Q4_K_M"
    assert set(found.keys) == {
        "maker/model-gguf:q4_k_m",
        "maker/model-gguf",
        "hf:maker/model-gguf/a-q4_k_m.gguf",
    }
    assert found.keys[0] == found.name.lower()
    assert (found.origin, found.is_pinned, found.projector) == ("hub", False, None)
    assert hub.sent == {}, "nothing was downloaded for that"


@pytest.mark.parametrize(
    ("there", "name", "expected"),
    [
        (["a-Q2_K.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf"], REPO, "a-Q4_K_M.gguf"),
        (["a-Q2_K.gguf", "a-q4_k_m.gguf"], REPO, "a-q4_k_m.gguf"),
        (["a-Q5_K_M.gguf", "a-Q8_0.gguf"], REPO, "a-Q5_K_M.gguf"),
        (["a-Q5_K_M.gguf", "a-Q8_0.gguf"], f"{REPO}:q8_0", "a-Q8_0.gguf"),
        (["a-Q5_K_M.gguf", "a-q8_0.gguf"], f"{REPO}:Q8_0", "a-q8_0.gguf"),
        (["a-fp16.gguf", "a-Q8_0.gguf"], f"{REPO}:f16", "a-fp16.gguf"),
        (["a-F16.gguf", "a-Q8_0.gguf"], f"{REPO}:fp16", "a-F16.gguf"),
        (["b/a-Q4_K_M.gguf", "a-Q8_0.gguf"], REPO, "b/a-Q4_K_M.gguf"),
        (["a-Q4_K_M.gguf", "a-UD-Q4_K_M.gguf"], f"{REPO}:Q4_K_M", "a-Q4_K_M.gguf"),
        (["a-Q4_K_M.gguf", "a-UD-Q4_K_M.gguf"], f"{REPO}:ud-q4_k_m", "a-UD-Q4_K_M.gguf"),
        (["a-UD-Q4_K_XL.gguf", "a-Q8_0.gguf"], f"{REPO}:UD-Q4_K_XL", "a-UD-Q4_K_XL.gguf"),
        (["a-UD-Q4_K_XL.gguf", "a-Q8_0.gguf"], f"{REPO}:Q4_K_XL", "a-UD-Q4_K_XL.gguf"),
        (["a.gguf", "b.gguf"], REPO, "a.gguf"),
        (["a.gguf", "README.md", "a-Q4_K_M.bin"], REPO, "a.gguf"),
        (["a.gguf", "b.gguf"], f"hf:{REPO}/b.gguf", "b.gguf"),
        (["mmproj-Q8_0.gguf", "imatrix.gguf", "a-imatrix.gguf", "z.gguf"], REPO, "z.gguf"),
        (["MTP-Q4_K_M.gguf", "long-name-Q4_K_M.gguf"], REPO, "long-name-Q4_K_M.gguf"),
        (["a-imatrix-Q4_K_M.gguf", "a-Q2_K.gguf"], REPO, "a-imatrix-Q4_K_M.gguf"),
    ],
)
def test_which_file_is_meant(hub: Hub, there: list[str], name: str, expected: str) -> None:
    fill(hub, *there)
    assert files(offer(name)) == [expected]
    assert offer(name).file.sha256 == digest(expected)


def test_the_first_of_what_is_there_is_what_its_tag_means(hub: Hub) -> None:
    fill(hub, "a-large-Q5_K.gguf", "b-Q5_K.gguf", "c-Q8_0.gguf")
    assert files(offer(REPO)) == files(offer(f"{REPO}:Q5_K")) == ["b-Q5_K.gguf"]


def test_a_more_exact_tag_does_not_pass_for_the_plain_one(hub: Hub) -> None:
    fill(hub, "a-Q4_K_M.gguf", "a-UD-Q4_K_M.gguf", "a-UD-Q4_K_M2.gguf")
    plain, exact = offer(f"{REPO}:Q4_K_M"), offer(f"{REPO}:UD-Q4_K_M")
    assert exact.name == f"{REPO}:UD-Q4_K_M"
    assert not set(plain.keys) & set(exact.keys)


def test_a_file_whose_name_tells_no_quantization_is_called_by_its_path(hub: Hub) -> None:
    fill(hub, "a.gguf")
    found = offer(REPO)
    assert (found.name, found.file.quantization) == (f"hf:{REPO}/a.gguf", "UNKNOWN")
    assert set(found.keys) == {f"hf:{REPO}/a.gguf".lower(), REPO.lower()}
    assert files(offer(found.name)) == ["a.gguf"]


def test_a_file_by_its_path_is_not_what_the_repository_means(hub: Hub) -> None:
    fill(hub, "a-Q4_K_M.gguf", "b-Q4_K_M.gguf")
    assert offer(f"hf:{REPO}/b-Q4_K_M.gguf").keys == (f"hf:{REPO}/b-Q4_K_M.gguf".lower(),)


def test_a_revision(hub: Hub) -> None:
    hub.add(REPO, "a-Q4_K_M.gguf", b"old", revision="v1")
    hub.add(REPO, "a-Q4_K_M.gguf", b"new")
    found = offer(f"{REPO}@v1")
    assert found.file.sha256 == sha256(b"old").hexdigest()
    source = offers.hub_source(found.file)
    assert source is not None
    assert source.revision == hub.commit(REPO, "v1") != hub.commit(REPO)
    assert found.name == f"{REPO}:Q4_K_M@v1"
    assert all(key.endswith("@v1") for key in found.keys)
    with pytest.raises(ModelNotFound, match="has no v2"):
        offer(f"{REPO}@v2")


SPLIT = [f"Q8_0/a-Q8_0-{number:05}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", [REPO, f"{REPO}:q8_0", f"hf:{REPO}/{SPLIT[0]}"])
def test_a_split_model_comes_together(hub: Hub, name: str) -> None:
    fill(hub, *SPLIT, "z.gguf")
    found = offer(name)
    assert files(found) == SPLIT
    assert [blob.sha256 for blob in found.file.blobs] == [digest(path) for path in SPLIT]
    assert found.file.total == sum(map(len, SPLIT))
    commit = hub.commit(REPO)
    assert {str(offers.hub_source(blob)).rpartition("@")[2] for blob in found.blobs} == {commit}


@pytest.mark.parametrize("missing", SPLIT)
def test_a_split_model_that_is_not_whole(hub: Hub, missing: str) -> None:
    fill(hub, *(path for path in SPLIT if path != missing), "z-IQ1_S.gguf")
    with pytest.raises(ModelNotFound, match=rf"is split, and its part {missing} is not there"):
        offer(f"{REPO}:Q8_0")


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["mmproj-F16.gguf", "mmproj-BF16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        (["mmproj-model-f16.gguf", "mmproj-Q8_0.gguf"], "mmproj-model-f16.gguf"),
        (["mmproj-Q8_0.gguf", "mmproj-BF16.gguf"], "mmproj-BF16.gguf"),
        (["a-mmproj-Q8_0.gguf"], "a-mmproj-Q8_0.gguf"),
        (["p/mmproj-F16.gguf"], "p/mmproj-F16.gguf"),
    ],
)
def test_a_projector_comes_with_its_model(hub: Hub, there: list[str], expected: str) -> None:
    fill(hub, "a-Q4_K_M.gguf", *there)
    found = offer(REPO)
    assert files(found) == ["a-Q4_K_M.gguf"]
    assert found.projector is not None
    assert found.projector.sha256 == digest(expected)
    assert found.blobs == (found.file, found.projector)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            f"{REPO}:Q3_K_S",
            f"{REPO} has no file of the quantization Q3_K_S. It has Q4_K_M, Q8_0.",
            f"localchat pull {REPO}:Q4_K_M",
        ),
        (
            f"{REPO}:UD-Q4_K",
            f"{REPO} has no file of the quantization UD-Q4_K. It has Q4_K_M, Q8_0.",
            f"localchat pull {REPO}:Q4_K_M",
        ),
        (
            f"hf:{REPO}/b.gguf",
            f"{REPO} has no b.gguf. It has Q4_K_M, Q8_0.",
            f"localchat pull {REPO}:Q4_K_M",
        ),
        (
            "Maker/Other",
            "Maker/Other has no file of the quantization Q4_K_M. It has no GGUF files at all.",
            "localchat models list",
        ),
    ],
)
def test_what_is_not_there(hub: Hub, name: str, message: str, hint: str) -> None:
    fill(hub, "a-UD-Q4_K_M.gguf", "a-Q8_0.gguf", "ab.gguf")
    hub.add("Maker/Other", "model.safetensors", b"x")
    with pytest.raises(ModelNotFound) as caught:
        offer(name)
    assert str(caught.value) == message
    assert caught.value.hint == hint


def test_a_repository_that_is_not_there(hub: Hub) -> None:
    with pytest.raises(ModelNotFound, match="The hub has no repository Maker/None"):
        offer("Maker/None")


@pytest.mark.parametrize(
    "path",
    [
        "../a-Q4_K_M.gguf",
        "a/../../b-Q4_K_M.gguf",
        "/etc/a-Q4_K_M.gguf",
        "-a-Q4_K_M.gguf",
        "a;b-Q4_K_M.gguf",
        "a\nb-Q4_K_M.gguf",
        "a\x1b[2J-Q4_K_M.gguf",
        ".a-Q4_K_M.gguf",
    ],
)
def test_a_hub_that_names_its_files_badly(hub: Hub, path: str) -> None:
    fill(hub, path)
    with pytest.raises(ModelNotFound, match="describes its files in a way that is not safe"):
        offer(REPO)
    with pytest.raises(ModelNotFound, match="describes its files in a way that is not safe"):
        offer(f"{REPO}:Q4_K_M")


def test_a_hub_that_names_its_projector_badly(hub: Hub) -> None:
    fill(hub, "a-Q4_K_M.gguf", "../mmproj-F16.gguf")
    with pytest.raises(ModelNotFound, match="describes its files in a way that is not safe"):
        offer(REPO)


@pytest.mark.parametrize("value", ["../../x", "0" * 63, "A" * 64])
def test_a_hub_that_says_no_digest(hub: Hub, value: str) -> None:
    fill(hub, "a-Q4_K_M.gguf")
    hub.schedule_metadata(Fault(Kind.ETAG, value=value))
    with pytest.raises(ModelNotFound, match="describes its files in a way that is not safe"):
        offer(REPO)


def test_a_file_without_a_digest_in_the_listing_is_left_open(hub: Hub) -> None:
    fill(hub, "a-Q4_K_M.gguf")
    hub.schedule_metadata(Fault(Kind.ETAG, value=""))
    found = offer(REPO)
    assert (found.file.sha256, found.file.size) == (None, None)


def test_an_address_needs_a_digest() -> None:
    with pytest.raises(UsageError, match="does not say which bytes are right") as caught:
        offers.of_url("https://example.org/a.gguf", None, None)
    assert caught.value.hint == "localchat pull https://example.org/a.gguf --sha256 HEX"
    for sha, size in (("0" * 63, 5), ("x" * 64, 5), ("0" * 64, 0)):
        with pytest.raises(UsageError, match="can't be used"):
            offers.of_url("https://example.org/a.gguf", sha, size)


@pytest.mark.parametrize(
    ("url", "name", "quantization"),
    [
        ("https://example.org/x/My-Model.Q4_K_M.gguf", "my-model.q4_k_m", "Q4_K_M"),
        ("https://example.org/a.GGUF?download=true", "a", "UNKNOWN"),
        ("https://example.org/", "model", "UNKNOWN"),
    ],
)
def test_an_address_with_a_digest(url: str, name: str, quantization: str) -> None:
    found = offers.of_url(url, "0" * 64, 5)
    assert (found.name, found.file.quantization) == (name, quantization)
    assert found.keys == (name, url.lower())
    assert (found.origin, found.is_pinned) == ("url", True)
    assert [str(source) for source in found.file.sources] == [url]


def test_an_address_copied_from_the_hubs_pages(hub: Hub) -> None:
    for host in (hub.url, "https://huggingface.co"):
        for kind in ("resolve", "blob"):
            page = f"{host}/{REPO}/{kind}/main/a%s.gguf?download=true"
            assert offers.of_page(page % "") == HubName(REPO, file="a.gguf")
            assert offers.of_page(page % "/../b") is None
        assert offers.of_page(f"{host}/{REPO}/resolve/v1/p/a.gguf") == HubName(
            REPO, file="p/a.gguf", revision="v1"
        )
        assert offers.of_page(f"{host}/{REPO}") is None
    assert offers.of_page(f"https://example.org/{REPO}/resolve/main/a.gguf") is None


def test_what_the_catalogue_offers(sample: Sample) -> None:
    found = offers.of_catalogue(catalog.find("wee"))
    assert (found.name, found.origin, found.is_pinned) == ("tiny", "catalogue", True)
    assert found.keys == ("tiny", "wee", "tiny:q4_0", "wee:q4_0")
    assert found.file == sample.file
    assert found.chat_template == "{{ messages }}"
    assert found.sampling == (("top_k", 3), ("temperature", 0.5))
