"""What a name of each kind stands for; of a file elsewhere only the header is fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat import speeds
from localchat.errors import ModelLoadFailed, ModelNotFound, NetworkNeeded
from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.care import imports
from localchat.registry.fitting import asked
from localchat.registry.fitting.candidates import Candidate
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.hub import Hub

REPO = "Maker/Model-GGUF"
FILE = "m-Q4_0.gguf"
REST = 8_000_000  # bytes behind the header

Tiny = Callable[..., Path]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def ask(places: Paths, notes: list[str]) -> Callable[..., Candidate]:
    def of(name: str, *, offline: bool = False) -> Candidate:
        return asked.candidate(name, places, offline=offline, token=False, note=notes.append)

    return of


@pytest.fixture
def at_hub(hub: Hub, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that names mean, with a file that begins like a model."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.add(REPO, FILE, tiny(context_length=512).read_bytes() + bytes(REST))
    return hub


Ask = Callable[..., Candidate]


class TestTheHub:
    @pytest.mark.parametrize("name", [f"{REPO}:Q4_0", REPO, f"hf:{REPO}/{FILE}"])
    def test_a_file_is_judged_by_its_header(self, at_hub: Hub, ask: Ask, name: str) -> None:
        found = ask(name)
        size = at_hub.repositories[REPO].commits[at_hub.commit(REPO)][FILE].size
        assert (found.weights, found.download, found.quantization) == (size, size, "Q4_0")
        assert (found.context_length, found.installed, found.is_pinned) == (512, False, False)
        assert found.header is not None
        assert found.header.number("block_count") == 2
        assert 0 < at_hub.sent[FILE] <= 2**17 < REST / 50

    def test_the_address_of_its_page_is_the_same_file(self, at_hub: Hub, ask: Ask) -> None:
        found = ask(at_hub.location(REPO, FILE))
        assert found.name == f"hf:{REPO}/{FILE}"
        assert at_hub.sent[FILE] <= 2**17

    def test_the_parts_of_a_split_model_count(self, at_hub: Hub, ask: Ask, tiny: Tiny) -> None:
        header = tiny().read_bytes()
        at_hub.add("Maker/Split", "s-Q8_0-00001-of-00002.gguf", header + bytes(1000))
        at_hub.add("Maker/Split", "s-Q8_0-00002-of-00002.gguf", bytes(5000))
        found = ask("Maker/Split:Q8_0")
        assert found.weights == len(header) + 6000
        assert at_hub.sent["s-Q8_0-00002-of-00002.gguf"] == 0

    def test_what_is_no_model_is_said_so(self, at_hub: Hub, ask: Ask) -> None:
        at_hub.add("Maker/Bad", "b-Q4_0.gguf", bytes(1000))
        with pytest.raises(ModelLoadFailed, match=r"^Maker/Bad:Q4_0 can't be judged: it is not a"):
            ask("Maker/Bad:Q4_0")

    def test_no_such_repository(self, at_hub: Hub, ask: Ask) -> None:
        with pytest.raises(ModelNotFound):
            ask("Maker/Nothing:Q4_0")

    def test_another_hub_than_the_usual_one_is_named(
        self, at_hub: Hub, ask: Ask, notes: list[str]
    ) -> None:
        ask(REPO)
        assert notes == [f"Asking {at_hub.url} (HF_ENDPOINT), not the usual hub."]

    @pytest.mark.parametrize("name", [REPO, f"hf:{REPO}/{FILE}", "https://example.com/m.gguf"])
    def test_offline_it_is_not_asked(self, at_hub: Hub, ask: Ask, name: str) -> None:
        with pytest.raises(NetworkNeeded, match="localchat is offline") as caught:
            ask(name, offline=True)
        assert caught.value.hint == f"localchat models fit {name} (with offline mode off)"
        assert at_hub.requests == []


def test_an_address(hub: Hub, ask: Ask, tiny: Tiny) -> None:
    hub.add(REPO, FILE, tiny(context_length=512).read_bytes() + bytes(REST))
    found = ask(hub.location(REPO, FILE))
    assert (found.quantization, found.context_length) == ("Q4_0", 512)
    assert found.weights > REST
    assert hub.sent[FILE] <= 2**17


@pytest.mark.parametrize("offline", [True, False])
class TestWithoutTheNetwork:
    def test_a_model_of_the_catalogue(self, ask: Ask, offline: bool) -> None:
        found = ask("QWEN3-1.7b:q8_0", offline=offline)
        assert (found.name, found.quantization) == ("qwen3-1.7b:q8_0", "Q8_0")
        assert ask("qwen3").name == "qwen3-4b"

    def test_a_name_that_nothing_has(self, ask: Ask, offline: bool) -> None:
        with pytest.raises(ModelNotFound, match="no model called 'qwen9'"):
            ask("qwen9", offline=offline)

    def test_an_installed_one(self, sample: Sample, ask: Ask, offline: bool) -> None:
        make_private(sample.places.models)
        sample.installed.write_bytes(sample.content)
        assert ask("wee", offline=offline).installed

    def test_an_imported_one_by_its_name_and_by_an_alias(
        self, places: Paths, ask: Ask, tiny: Tiny, tmp_path: Path, offline: bool
    ) -> None:
        path = tmp_path / "my.gguf"
        shutil.copy(tiny(), path)
        record = imports.import_file(
            path, places, way="copy", name="mine", projector=None, watcher=Quiet()
        )
        installed.set_alias("m", "mine", places)
        for name in ("mine", "m"):
            found = ask(name, offline=offline)
            assert (found.name, found.installed) == ("mine", True)
            assert found.speed_key == record.sha256

    def test_a_path(self, ask: Ask, tiny: Tiny, offline: bool) -> None:
        path = tiny()
        found = ask(str(path), offline=offline)
        assert (found.name, found.weights) == (str(path), path.stat().st_size)
        assert found.speed_key == speeds.key(None, str(path))

    def test_a_path_that_is_not_there(self, ask: Ask, offline: bool) -> None:
        with pytest.raises(ModelNotFound):
            ask("/nowhere/m.gguf", offline=offline)
