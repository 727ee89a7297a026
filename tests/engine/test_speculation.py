from __future__ import annotations

import gc
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.sequence import Sequence
from localchat.engine.speculation import NgramLookup, Speculation
from tests.engine.fakes import sequence

TOKENS = st.lists(st.integers(0, 2), max_size=40)


@given(TOKENS, st.lists(TOKENS, max_size=4), st.integers(1, 8))
def test_a_guess_repeats_what_followed_the_last_three_tokens_when_they_last_came(
    prompt: list[int], grown: list[list[int]], most: int
) -> None:
    lookup, seq = NgramLookup(), sequence([0, *prompt])
    for tokens in [[], *grown]:
        seq.tokens += tokens
        end = seq.tokens[-3:]
        starts = [at for at in range(3, len(seq.tokens)) if seq.tokens[at - 3 : at] == end]
        expected = seq.tokens[starts[-1] :][:most] if starts and len(end) == 3 else []
        assert lookup.guess(seq, most) == expected


def test_sequences_are_looked_up_apart_and_forgotten_when_they_end() -> None:
    lookup = NgramLookup()
    copying = sequence([1, 2, 3, 4, 5, 1, 2, 3])
    assert lookup.guess(copying, 2) == [4, 5]
    assert lookup.guess(sequence([9, 1, 2, 3]), 2) == []
    del copying
    gc.collect()
    assert len(lookup._indexes) == 0


class Known:
    """Guesses from a text that is known, each token right with a given pattern."""

    def __init__(self, *, is_right: bool) -> None:
        self.is_right = is_right
        self.asked: list[int] = []

    def guess(self, sequence: Sequence, most: int) -> list[int]:
        self.asked.append(most)
        return [0 if self.is_right else 1] * most


def decode(speculation: Speculation, seq: Sequence, steps: int, most: int = 100) -> list[int]:
    """Lengths of the guesses of each step, for a model that always says 0."""
    lengths = []
    for _ in range(steps):
        guesses = speculation.propose(seq, most)
        lengths.append(len(guesses))
        right = next((at for at, token in enumerate(guesses) if token), len(guesses))
        seq.tokens += [0] * (right + 1)
    return lengths


def test_right_guesses_are_followed_by_more_at_once_up_to_a_limit() -> None:
    speculation = Speculation(Known(is_right=True), lambda: 0.43)
    assert decode(speculation, sequence([5]), 5) == [4, 8, 16, 16, 16]


def test_wrong_guesses_are_soon_given_up_for_ever_longer() -> None:
    speculation = Speculation(Known(is_right=False), lambda: 0.43)
    lengths = decode(speculation, sequence([5]), 4000)
    guessed = [step for step, length in enumerate(lengths) if length]
    assert len(guessed) < 80, "2% of the steps"
    assert sum(lengths) < 200
    gaps = [late - early for early, late in itertools.pairwise(guessed)]
    assert max(gaps[: len(gaps) // 4]) < max(gaps) <= 256 + 1


@pytest.mark.parametrize(("row_cost", "goes_on"), [(0.2, True), (0.9, False)])
def test_guesses_of_which_half_are_right_are_made_where_rows_are_cheap(
    row_cost: float, goes_on: bool
) -> None:
    class HalfRight(Known):
        def guess(self, sequence: Sequence, most: int) -> list[int]:
            return [0] * (most // 2) + [1] * (most - most // 2)

    speculation = Speculation(HalfRight(is_right=False), lambda: row_cost)
    lengths = decode(speculation, sequence([5]), 300)
    assert (sum(map(bool, lengths)) > 250) == goes_on


def test_a_guess_leaves_room_for_the_token_that_comes_by_itself() -> None:
    speculation = Speculation(Known(is_right=True), lambda: 0.43)
    seq = sequence([5], max_tokens=4)
    seq.tokens += [0]
    assert len(speculation.propose(seq, 100)) == 2
    seq.tokens += [0, 0]
    assert speculation.propose(seq, 100) == ()


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_guess_is_no_longer_than_there_is_room(most: int) -> None:
    source = Known(is_right=True)
    speculation = Speculation(source, lambda: 0.43)
    assert len(speculation.propose(sequence([5]), most)) == most
    assert source.asked == ([most] if most else [])


def test_a_step_that_was_aborted_is_not_held_against_the_guesses() -> None:
    speculation = Speculation(Known(is_right=True), lambda: 0.6)
    seq = sequence([5])
    for _ in range(50):
        assert len(speculation.propose(seq, 100)) == 4
    assert decode(speculation, seq, 3) == [4, 8, 16]
