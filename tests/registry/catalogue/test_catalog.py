from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from localchat.errors import ConfigError, ModelNotFound
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue import folder as catalog_folder
from tests.registry.conftest import Sample


def test_no_two_models_share_a_name() -> None:
    names = Counter(key for entry in catalog.entries() for key in entry.keys)
    assert [name for name, count in names.items() if count > 1] == []


def test_files_are_named_after_their_model() -> None:
    names = {path.stem for path in catalog_folder.folder().glob("*.toml")}
    assert {manifest.name for manifest in catalog.load()} == names
    assert {"smollm2-135m", "gemma3-270m"} <= names


def test_the_starter_samples_as_its_manifest_says() -> None:
    sampling = catalog.find("smollm2-135m").manifest.sampling
    assert dict(sampling.pairs()) == {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1}


@pytest.mark.parametrize("name", ["tiny", "TINY", "Wee", "tiny:q4_0", "wee:Q4_0"])
def test_names_that_mean_the_first_file(sample: Sample, name: str) -> None:
    found = catalog.find(name)
    assert (found.name, found.file.quantization) == ("tiny", "Q4_0")


def test_another_quantization(sample: Sample) -> None:
    found = catalog.find("wee:q8_0")
    assert (found.name, found.file.quantization) == ("tiny:q8_0", "Q8_0")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinny", "There is no model called 'tinny'. Did you mean tiny?"),
        (
            "tiny:q5_0",
            "There is no model called 'tiny:q5_0'. Did you mean tiny:q4_0 or tiny:q8_0?",
        ),
        ("tinny:q4_0", "There is no model called 'tinny:q4_0'. Did you mean tiny?"),
        ("llama", "There is no model called 'llama'."),
        ("\x1b]52", "There is no model called '\\x1b]52'."),
        ("", "There is no model called ''."),
    ],
)
def test_an_unknown_name(sample: Sample, name: str, message: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog.find(name)
    assert str(caught.value) == message
    assert caught.value.hint == "localchat models list"


@pytest.mark.parametrize("text", ["name = ", 'name = "x"', "\udcff"])
def test_a_manifest_that_is_not_valid(sample: Sample, text: str) -> None:
    bad = sample.catalog / "bad.toml"
    bad.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        catalog.load()


def test_an_installed_package_brings_its_own_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_folder, "PACKAGED", tmp_path)
    assert catalog_folder.folder() == catalog_folder.CHECKOUT
    (tmp_path / "a.toml").touch()
    assert catalog_folder.folder() == tmp_path
