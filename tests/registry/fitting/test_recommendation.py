from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import OutOfSpace
from localchat.paths import Paths
from localchat.registry.fitting import ranking as fits
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.capacity import Capacity
from localchat.registry.fitting.contenders import contenders
from localchat.registry.fitting.ranking import Fit, Question
from localchat.registry.fitting.recommendation import READING, Recommendation, recommend
from tests.registry.fitting.test_ranking import GB, MACHINE, MODEL

STARTER = 134_515_008


def on(machine: Capacity, places: Paths) -> Recommendation:
    """What the real catalogue has for it."""
    return recommend(fits.rank(contenders(places), machine, Question(), places.speeds))


def machine(memory: float, bandwidth: float) -> Capacity:
    return Capacity(int(memory * GB), 0, 0, 500 * GB, bandwidth * 1e9, 4)


def fit(candidate: Candidate = MODEL, **changes: Any) -> Fit:
    (found,) = fits.rank([candidate], MACHINE, Question(), Path("/nowhere"))
    return replace(found, speed=20.0, **changes)


class TestTheRealCatalogue:
    @pytest.mark.parametrize(
        ("memory", "bandwidth", "least", "most"),
        [(1, 10, 0.2e9, 1e9), (8, 25, 1.5e9, 4e9), (64, 80, 6e9, 15e9)],
    )
    def test_has_one_of_a_fitting_size(
        self, places: Paths, memory: float, bandwidth: float, least: float, most: float
    ) -> None:
        found = on(machine(memory, bandwidth), places).fit
        assert found.verdict == "fits"
        assert least < found.candidate.parameters < most
        assert (found.candidate.kind, found.candidate.is_pinned) == ("chat", True)
        assert found.candidate.licence_note is None
        assert found.speed is not None
        assert found.speed >= READING

    def test_a_larger_machine_gets_a_better_one(self, places: Paths) -> None:
        found = [on(machine(*m), places).fit.quality for m in ((1, 10), (8, 25), (64, 80))]
        assert found == sorted(set(found))

    def test_nothing_smaller_than_the_starter_is_named(self, places: Paths) -> None:
        # The hint after the starter's answer calls it a larger model.
        chat = [each for each in contenders(places) if each.kind == "chat"]
        assert min(each.parameters for each in chat) == STARTER

    def test_a_machine_without_room_gets_a_sentence(self, places: Paths) -> None:
        with pytest.raises(OutOfSpace) as caught:
            on(machine(0.2, 10), places)
        assert caught.value.hint == "localchat models fit"


def test_the_first_of_those_without_a_concern_is_named() -> None:
    unpinned = fit(replace(MODEL, name="unpinned", is_pinned=False))
    limited = fit(replace(MODEL, name="limited", licence_note="Not for commercial use."))
    best, second = fit(replace(MODEL, name="best")), fit(replace(MODEL, name="second"))
    assert recommend([unpinned, limited, best, second]).fit is best
    assert recommend([unpinned, limited]).fit is unpinned
    both = fit(replace(MODEL, is_pinned=False, licence_note="No."))
    assert recommend([both, limited]).fit is limited


@pytest.mark.parametrize("kind", ["base", "coder", "vision", "embedding", "draft", None])
def test_only_chat_models_are_named(kind: Any) -> None:
    chat = fit(replace(MODEL, name="chat"))
    assert recommend([fit(replace(MODEL, kind=kind)), chat]).fit is chat


@pytest.mark.parametrize("verdict", ["tight", "no"])
def test_what_does_not_fit_well_is_not_named(verdict: Any) -> None:
    fitting = fit(replace(MODEL, name="fits"))
    assert recommend([fit(verdict=verdict), fitting]).fit is fitting
    with pytest.raises(OutOfSpace):
        recommend([fit(verdict=verdict)])


def test_a_slow_one_is_not_named_before_a_fast_one() -> None:
    slow, fast = replace(fit(), speed=READING - 0.1), replace(fit(), speed=READING)
    assert recommend([slow, fast]).fit is fast


def test_the_fastest_is_named_where_all_are_slow() -> None:
    slow, slower = replace(fit(), speed=3.0), replace(fit(), speed=2.0)
    found = recommend([slower, slow])
    assert found.fit is slow
    assert found.reason == (
        "No chat model that fits is expected to write at reading speed here; this one is the"
        " fastest, and should write about 3 tokens/s. It needs 5.8 GB of memory."
    )


def test_one_that_always_thinks_has_to_be_faster() -> None:
    thinking = replace(MODEL, name="thinking", thinking="always")
    assert recommend([replace(fit(thinking), speed=20.0), fit()]).fit.candidate is MODEL
    assert recommend([replace(fit(thinking), speed=30.0), fit()]).fit.candidate is thinking


def test_a_speed_that_cannot_be_told_is_no_reason_against() -> None:
    unknown = replace(fit(), speed=None)
    assert recommend([unknown]).fit is unknown
    assert "tokens/s" not in recommend([unknown]).reason


def test_the_reason_has_the_numbers() -> None:
    assert recommend([fit(), fit(basis="measured")]).reason == (
        "It is the best of 2 chat models that fit into memory and write at reading speed here:"
        " it needs 5.8 GB with 4,096 tokens of context, and should write about 20 tokens/s."
    )
    assert recommend([fit(basis="measured")]).reason == (
        "It is the one model that fits into memory and write at reading speed here:"
        " it needs 5.8 GB with 4,096 tokens of context, and wrote 20 tokens/s."
    )
