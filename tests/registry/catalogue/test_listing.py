from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.catalogue import folder as catalog_folder
from localchat.registry.catalogue import listing
from localchat.registry.catalogue.listing import Row
from localchat.registry.files import verify
from localchat.registry.installed import Part, Record
from tests.conftest import CommandRunner
from tests.registry.conftest import Sample


def rows(sample: Sample) -> dict[str, Row]:
    return {row.name: row for row in listing.listing(sample.places)}


def cache(places: Paths) -> Path:
    return places.cache / "catalogue.json"


def test_the_catalogue(sample: Sample) -> None:
    found = rows(sample)
    assert list(found) == ["tiny", "tiny:q8_0"]
    assert found["tiny"] == Row(
        name="tiny",
        aliases=("wee",),
        kind="chat",
        family="Tiny",
        parameters=1000,
        context_length=64,
        quantization="Q4_0",
        size=1_500_004,
        licence="CC0-1.0",
        is_pinned=True,
        sha256=sample.sha256,
    )
    assert (found["tiny:q8_0"].quantization, found["tiny:q8_0"].size) == ("Q8_0", 10)


def test_what_is_installed(sample: Sample) -> None:
    sample.pull()
    found = rows(sample)
    assert (found["tiny"].installed, found["tiny"].path) == (True, str(sample.installed))
    assert (found["tiny:q8_0"].installed, found["tiny:q8_0"].path) == (False, None)
    sample.installed.chmod(0o600)
    os.truncate(sample.installed, 5)
    assert (rows(sample)["tiny"].installed, rows(sample)["tiny"].path) == (False, None)
    sample.installed.unlink()
    assert not rows(sample)["tiny"].installed


def test_what_is_installed_without_a_record(sample: Sample) -> None:
    make_private(sample.places.models)
    sample.installed.write_bytes(sample.content[:-1])
    assert not rows(sample)["tiny"].installed
    sample.installed.write_bytes(sample.content)
    assert rows(sample)["tiny"].path == str(sample.installed)
    assert installed.records(sample.places) == [], "looking changes nothing"


def test_nothing_is_hashed(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise AssertionError("a file was read")

    sample.pull()
    monkeypatch.setattr(verify, "sha256", refuse)
    os.utime(sample.installed, ns=(0, 0))
    assert rows(sample)["tiny"].installed


def other(sample: Sample, name: str, **changes: Any) -> Record:
    """A record whose one file is there."""
    make_private(sample.places.models)
    path = installed.location("ab" * 32, sample.places)
    path.write_bytes(b"GGUF")
    part = Part("ab" * 32, verify.stamp(path))
    fields = {"quantization": "Q2_K", "licence": "MIT"} | changes
    return Record(name=name, keys=(name, f"{name}-too"), parts=(part,), **fields)


def test_what_the_catalogue_does_not_know(sample: Sample) -> None:
    mine = other(sample, "mine", origin="import")
    installed.record(mine, sample.places)
    assert list(rows(sample)) == ["mine", "tiny", "tiny:q8_0"]
    assert rows(sample)["mine"] == Row(
        name="mine",
        aliases=("mine-too",),
        kind=None,
        family=None,
        parameters=None,
        context_length=None,
        quantization="Q2_K",
        size=4,
        licence="MIT",
        is_pinned=True,
        sha256="ab" * 32,
        installed=True,
        path=str(mine.path(sample.places)),
        origin="import",
    )


def test_an_installed_model_is_described_as_it_is_here(sample: Sample) -> None:
    installed.record(other(sample, "tiny"), sample.places)
    found = rows(sample)["tiny"]
    assert (found.sha256, found.size, found.quantization) == ("ab" * 32, 4, "Q2_K")
    assert (found.installed, found.family) == (True, "Tiny")


def test_sizes_count_all_files_where_they_are_known(sample: Sample) -> None:
    source = '[[{}sources]]\ntype = "hub"\nrepo = "o/r"\nfile = "x.gguf"'
    sample.add_manifest(
        "seeing",
        'name = "seeing"\nfamily = "See"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
        f'[projector]\nsize = 5\nsha256 = "{"1" * 64}"\n{source.format("projector.")}',
        f'[[files]]\nquantization = "Q4_0"\nsize = 7\nsha256 = "{"2" * 64}"',
        source.format("files."),
        f'[[files]]\nquantization = "Q8_0"\n{source.format("files.")}',
    )
    found = rows(sample)
    assert (found["seeing"].size, found["seeing"].is_pinned) == (12, True)
    assert (found["seeing:q8_0"].size, found["seeing:q8_0"].is_pinned) == (None, False)


# What is remembered of the catalogue


def test_the_manifests_are_read_once(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    first = listing.listing(sample.places)

    def refuse() -> list[Row]:
        raise AssertionError("the manifests were read")

    with monkeypatch.context() as patch:
        patch.setattr(listing, "_from_manifests", refuse)
        assert listing.listing(sample.places) == first
    assert [path.name for path in sample.places.cache.iterdir()] == ["catalogue.json"]


def test_a_changed_manifest_shows(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows(sample)["tiny"].licence == "CC0-1.0"
    sample.write_manifest(licence="MIT")
    assert rows(sample)["tiny"].licence == "MIT"
    manifest = sample.catalog / "tiny.toml"
    before = manifest.stat()
    manifest.write_text(manifest.read_text().replace("MIT", "ISC"))
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert rows(sample)["tiny"].licence == "ISC", "its size is the same"
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    sample.add_manifest(
        "more",
        'name = "more"\nfamily = "More"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
        '[[files]]\nquantization = "Q8_0"\n[[files.sources]]\ntype = "hub"',
        'repo = "o/r"\nfile = "x.gguf"',
    )
    assert "more" in rows(sample)
    (sample.catalog / "more.toml").unlink()
    assert "more" not in rows(sample)
    kept = listing.listing(sample.places)
    monkeypatch.setattr(listing, "__version__", "99")
    monkeypatch.setattr(listing, "_from_manifests", list)
    assert listing.listing(sample.places) != kept, "another localchat has other manifests"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"\xff", b"{}", b'{"fingerprint": "x", "rows": []}', b"[" * 99_999],
)
def test_a_damaged_cache_is_made_anew(sample: Sample, content: bytes) -> None:
    first = listing.listing(sample.places)
    good = cache(sample.places).read_bytes()
    cache(sample.places).write_bytes(content)
    assert listing.listing(sample.places) == first
    assert cache(sample.places).read_bytes() == good


@pytest.mark.parametrize("damaged", [None, 5, [5], [{}], [{"aliases": 5}], [{"aliases": []}]])
def test_rows_that_are_none_are_made_anew(sample: Sample, damaged: Any) -> None:
    first = listing.listing(sample.places)
    remembered = json.loads(cache(sample.places).read_bytes())
    cache(sample.places).write_text(json.dumps(remembered | {"rows": damaged}))
    assert listing.listing(sample.places) == first


def test_a_cache_that_cannot_be_written_is_no_failure(sample: Sample) -> None:
    sample.places.cache.parent.mkdir(parents=True, exist_ok=True)
    sample.places.cache.write_text("a file in its place")
    assert list(rows(sample)) == ["tiny", "tiny:q8_0"]


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The packages that a run with -X importtime imported."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_a_second_list_imports_no_pydantic(localchat: CommandRunner) -> None:
    profiled = {"PYTHONPROFILEIMPORTTIME": "1"}
    first = localchat("models", "list", env=profiled)
    assert "pydantic" in imported(first)
    second = localchat("models", "list", env=profiled)
    assert not imported(second) & {"pydantic", "httpx2", "huggingface_hub", "llama_cpp"}
    assert {"localchat", "click"} <= imported(second)
    assert second.stdout == first.stdout
    assert len(second.stdout.splitlines()) > 60


def test_the_fingerprint_is_of_the_folder_in_use(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = rows(sample)
    other_catalogue = tmp_path / "other"
    other_catalogue.mkdir()
    manifest = other_catalogue / "tiny.toml"
    manifest.write_text((sample.catalog / "tiny.toml").read_text().replace("CC0-1.0", "CC0-2.0"))
    status = (sample.catalog / "tiny.toml").stat()
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    monkeypatch.setattr(catalog_folder, "PACKAGED", other_catalogue)
    assert rows(sample)["tiny"].licence != before["tiny"].licence
