"""What is guessed of a model errs on the high side; what is known is taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localchat import fit, gguf, speeds
from localchat.gguf import Header
from localchat.paths import Paths, make_private
from localchat.registry.care import imports
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.catalog import Entry
from localchat.registry.fitting import candidates
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.contenders import contenders
from tests.conftest import Quiet
from tests.registry.conftest import Sample

SEQUENCES = 18
ENTRIES = catalog.entries()
KNOWN = [entry for entry in ENTRIES if entry.manifest.header is not None]
SIZED = [entry for entry in ENTRIES if entry.file.total is not None]


def by_name(entry: Entry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", KNOWN, ids=by_name)
def test_a_guess_is_not_below_what_the_shape_says(entry: Entry) -> None:
    known = candidates.of_entry(entry)
    guessed = replace(known, header=None)
    for context in {256, min(4096, known.context_length), known.context_length}:
        needs = known.needs(context, "f16", SEQUENCES)
        guess = guessed.needs(context, "f16", SEQUENCES)
        assert guess.total >= needs.total


@pytest.mark.parametrize("entry", SIZED, ids=by_name)
def test_a_guessed_size_is_not_below_the_real_one(entry: Entry) -> None:
    assert entry.file.total is not None
    guess = candidates._weights(entry.manifest.parameters, entry.file.quantization)
    assert entry.file.total <= guess <= 2 * entry.file.total + 150e6


def test_the_catalogue_is_known_but_for_a_few() -> None:
    assert len(KNOWN) > 0.9 * len(ENTRIES)
    assert len(SIZED) > 0.8 * len(ENTRIES)


def test_what_a_guess_is_of_is_marked() -> None:
    for entry in ENTRIES:
        known = entry in KNOWN and entry in SIZED
        assert candidates.of_entry(entry).is_estimated is not known


def test_a_quantized_cache_is_smaller_in_a_guess_too() -> None:
    guessed = replace(candidates.of_entry(KNOWN[0]), header=None)
    full = guessed.needs(4096, "f16", SEQUENCES).kv_cache
    assert guessed.needs(4096, "q8_0", SEQUENCES).kv_cache == pytest.approx(full * 34 / 64, abs=1)


def test_a_mixture_of_experts_uses_a_part_of_its_weights() -> None:
    found = candidates.of_entry(catalog.find("gpt-oss-20b"))
    assert found.active_share == pytest.approx(3.6 / 20.9, rel=0.01)
    # The file's header alone tells it too.
    assert found.header is not None
    assert candidates.active_share(found.header) == pytest.approx(found.active_share, rel=0.2)


def test_a_dense_model_uses_all_of_them() -> None:
    found = candidates.of_entry(catalog.find("qwen3-4b"))
    assert found.active_share == 1.0
    assert found.header is not None
    assert candidates.active_share(found.header) == 1.0
    hostile = Header("x", {"x.expert_count": 4, "x.expert_used_count": 9}, 1)
    assert candidates.active_share(hostile) == 1.0


def test_a_projector_is_downloaded_but_is_no_weights() -> None:
    entry = catalog.find("qwen3.5-4b")
    assert entry.manifest.projector is not None
    assert entry.manifest.projector.size is not None
    found = candidates.of_entry(entry)
    assert found.download == found.weights + entry.manifest.projector.size


def test_a_file_of_this_machine(tiny: Callable[..., Path]) -> None:
    path = tiny(context_length=512)
    found = candidates.of_file("it", path)
    assert (found.name, found.quantization) == ("it", "F32")
    assert (found.weights, found.context_length) == (path.stat().st_size, 512)
    assert found.speed_key == speeds.key(None, str(path))
    assert (found.installed, found.is_estimated, found.is_pinned) == (True, False, False)
    footprint = fit.Footprint(gguf.read_file(path), path.stat().st_size, "f16", SEQUENCES, 512)
    assert found.needs(512, "f16", SEQUENCES) == footprint.estimate(512)


class TestContenders:
    def named(self, name: str, places: Paths) -> Candidate:
        (found,) = [each for each in contenders(places) if each.name == name]
        return found

    def test_are_all_files_of_the_catalogue(self, places: Paths) -> None:
        assert {each.name for each in contenders(places)} == {entry.name for entry in ENTRIES}

    def test_what_is_remembered_is_the_same(self, places: Paths) -> None:
        first = contenders(places)
        assert (places.cache / "candidates.json").is_file()
        assert contenders(places) == first

    @pytest.mark.parametrize("text", ["", "[]", '{"fingerprint": "x"}'])
    def test_what_is_remembered_may_be_anything(self, places: Paths, text: str) -> None:
        first = contenders(places)
        (places.cache / "candidates.json").write_text(text)
        assert contenders(places) == first

    def test_a_manifest_that_changed_is_read_again(self, sample: Sample) -> None:
        assert self.named("tiny", sample.places).licence == "CC0-1.0"
        sample.write_manifest(licence="MIT")
        assert self.named("tiny", sample.places).licence == "MIT"

    def test_an_installed_one_is_marked(self, sample: Sample) -> None:
        assert not self.named("tiny", sample.places).installed
        make_private(sample.places.models)
        sample.installed.write_bytes(sample.content)
        found = self.named("tiny", sample.places)
        assert (found.installed, found.speed_key) == (True, sample.sha256)
        assert not self.named("tiny:q8_0", sample.places).installed

    def test_one_that_was_imported_is_among_them(
        self, places: Paths, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = tmp_path / "my.gguf"
        shutil.copy(tiny(), path)
        imports.import_file(path, places, way="copy", name="mine", projector=None, watcher=Quiet())
        found = self.named("mine", places)
        assert (found.installed, found.kind) == (True, None)
        assert found.weights == path.stat().st_size
        installed_file = next(places.models.glob("*.gguf"))
        installed_file.chmod(0o600)
        installed_file.write_bytes(b"x" * path.stat().st_size)
        assert "mine" not in {each.name for each in contenders(places)}
