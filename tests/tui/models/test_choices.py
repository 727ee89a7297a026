"""What there is to choose from, with real registry folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localchat.config import Settings
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import imports
from localchat.registry.fitting import capacity, contenders
from localchat.tui.models import choices
from localchat.tui.models.choices import Choice
from localchat.tui.models.search import Search
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.conftest import at_hub as at_hub
from tests.registry.conftest import sample as sample
from tests.registry.fitting.test_ranking import GB, MACHINE, MODEL
from tests.registry.hub import hub as hub
from tests.tui.models.offered import Offered
from tests.tui.models.offered import offered as offered


@pytest.fixture
def mine(places: Paths, tiny: Callable[..., Path]) -> str:
    """A tiny model of the user's own."""
    imports.import_file(tiny(), places, way="copy", name="mine", projector=None, watcher=Quiet())
    return "mine"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "find", lambda *_: MACHINE)


def names(found: list[Choice]) -> list[str]:
    return [each.name for each in found]


class TestThere:
    def test_nothing(self, places: Paths) -> None:
        assert choices.there(places) == []

    def test_what_is_installed(self, places: Paths, mine: str) -> None:
        installed.set_alias("own", mine, places)
        (found,) = choices.there(places)
        assert (found.name, found.is_installed, found.verdict) == ("mine", True, None)
        assert found.size == installed.records(places)[0].size
        assert choices.find([found], "OWN") is found
        assert choices.find([found], "other") is None

    def test_models_that_can_not_chat_are_left_out(
        self, sample: Sample, at_hub: Any, places: Paths
    ) -> None:
        sample.write_manifest(kind="embedding")
        installed.location(sample.sha256, places).parent.mkdir(parents=True)
        sample.installed.write_bytes(sample.content)
        assert choices.there(places) == []
        sample.write_manifest(kind="chat")
        assert names(choices.there(places)) == ["tiny"]


@pytest.mark.usefixtures("machine")
class TestJudged:
    def test_the_real_catalogue(self, places: Paths, mine: str) -> None:
        found = choices.judged(Settings(), places)
        assert len(found) > 30
        (best,) = [each for each in found if each.recommended]
        assert best.verdict == "fits"
        assert "write at reading speed" in best.recommended
        own = choices.find(found, mine)
        assert own is not None
        assert (own.is_installed, own.context_length) == (True, 256)
        assert not any(each.kind == "embedding" for each in found)

    def test_aliases_of_the_catalogue_are_known(self, places: Paths) -> None:
        found = choices.judged(Settings(), places)
        starter = choices.find(found, "SmolLM2")
        assert starter is not None
        assert starter.name == "smollm2-135m"

    def test_values_of_one(self, places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
        planted = [
            replace(MODEL, name="good", licence_note="Read it."),
            replace(MODEL, name="huge", weights=50 * GB, download=50 * GB),
        ]
        monkeypatch.setattr(contenders, "contenders", lambda _: planted)
        good, huge = choices.judged(Settings(), places)
        assert good == Choice(
            "good",
            kind="chat",
            parameters=8 * GB,
            quantization="Q4_K_M",
            size=5 * GB,
            context_length=8192,
            speed="~6.6",
            verdict="fits",
            licence_note="Read it.",
            recommended=good.recommended,
        )
        assert (huge.verdict, huge.reasons) == ("no", ("memory short by 34.8 GB",))

    def test_a_size_that_only_the_hub_knows_is_a_guess(self, sample: Sample, places: Paths) -> None:
        sample.add_manifest(
            "open",
            'name = "open"\nfamily = "Open"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
            '[[files]]\nquantization = "Q4_K_M"\n[[files.sources]]\ntype = "hub"',
            'repo = "a/b"\nfile = "c.gguf"',
        )
        found = {each.name: each.is_estimated for each in choices.judged(Settings(), places)}
        assert found == {"open": True, "tiny": False, "tiny:q8_0": False}

    def test_none_is_recommended_where_none_fits(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(capacity, "find", lambda *_: replace(MACHINE, memory=1))
        assert not any(each.recommended for each in choices.judged(Settings(), places))


class TestTogether:
    def test_what_is_installed_is_as_it_lies_there(self) -> None:
        there = [Choice("a", quantization="Q8_0", size=8, is_installed=True),
                 Choice("odd", is_installed=True)]  # fmt: skip
        judged = [Choice("b", size=3), Choice("a", quantization="Q4_0", size=4, is_installed=True)]
        b, a, odd = choices.merged(there, judged)
        assert (b, odd) == (judged[0], there[1])
        assert (a.quantization, a.size) == ("Q8_0", 8)

    def test_the_file_that_a_chat_uses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "qwen3-4b").write_bytes(b"of another kind")
        path = tmp_path / "own.gguf"
        path.write_bytes(b"GGUF")
        (own,) = choices.with_current([], str(path))
        assert (own.name, own.size, own.is_installed) == (str(path), 4, True)
        assert choices.with_current([own], str(path)) == [own]
        assert choices.with_current([], "qwen3-4b") == []
        assert choices.with_current([], str(tmp_path / "gone.gguf")) == []
        assert choices.with_current([], "/nul\0") == []

    def test_which_have_an_engine(self, places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = SimpleNamespace(serves=lambda name: name in ("a", "c"))
        monkeypatch.setattr(choices, "running", lambda _: [engine])
        found = [Choice("a", is_installed=True), Choice("b", is_installed=True), Choice("c")]
        assert choices.served(found, places) == {"a"}


class TestSource:
    def test_of_the_hub(self, offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
        assert choices.source("little") == f"{offered.hub.url} (Maker/Little-GGUF)"
        monkeypatch.delenv("HF_ENDPOINT")
        assert choices.source("little") == "the Hugging Face hub (Maker/Little-GGUF)"

    def test_of_packages_and_addresses(self, sample: Sample) -> None:
        assert choices.source("tiny") == "your package index (tiny-part1 1.0 and 1 more)"
        sample.add_manifest(
            "far",
            'name = "far"\nfamily = "Far"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
            f'[[files]]\nquantization = "Q4_0"\nsize = 9\nsha256 = "{"0" * 64}"',
            '[[files.sources]]\ntype = "url"\nurl = "https://example.org/far.gguf"',
        )
        assert choices.source("far") == "https://example.org/far.gguf"


class TestSearch:
    CHOICES = (
        Choice("qwen3-4b", ("qwen3-4b", "qwen3"), verdict="fits"),
        Choice("gemma3-1b", ("gemma3-1b",), verdict="tight"),
        Choice("qwen3-32b", ("qwen3-32b",), verdict="no"),
        Choice("mine", ("mine", "queen"), is_installed=True, verdict="no"),
    )

    def found(self, wanted: str) -> list[str]:
        return names(list(Search().find(wanted, self.CHOICES).choices))

    def test_without_a_word_what_can_be_used(self) -> None:
        assert self.found(" ") == ["qwen3-4b", "gemma3-1b", "mine"]

    def test_letters_in_their_order_find_it_and_what_is_too_large(self) -> None:
        assert self.found("qw4") == ["qwen3-4b"]
        assert set(self.found("QWEN3")) == {"qwen3-4b", "qwen3-32b"}
        assert self.found("4qw") == []

    def test_an_alias_finds_it_too(self) -> None:
        assert self.found("queen") == ["mine"]

    def test_the_best_match_comes_first(self) -> None:
        assert self.found("3b") == ["qwen3-32b", "qwen3-4b", "gemma3-1b"]

    def test_which_letters_matched(self) -> None:
        found = Search().find("g1b", self.CHOICES)
        assert list(found.offsets["gemma3-1b"]) == [0, 7, 8]
