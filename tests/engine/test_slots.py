from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.slots import Placement, SlotTable

PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def table(*held: list[int], can_cut: bool = True) -> SlotTable:
    """Slots that hold these tokens, used one after the other."""
    slots = SlotTable(len(held), can_cut=can_cut)
    for index, tokens in enumerate(held):
        slots.take(index)
        slots.give_back(index, tokens)
    return slots


def test_the_next_turn_goes_to_the_slot_that_holds_its_conversation() -> None:
    slots = table([9, 9], [1, 2, 3], [1])
    assert slots.best([1, 2, 3, 4], reuse=True) == Placement(slot=1, kept=3, source=1)


def test_the_last_token_of_a_prompt_is_always_computed_again() -> None:
    assert table([1, 2, 3]).best([1, 2, 3], reuse=True).kept == 2


def test_a_small_part_of_a_long_conversation_is_copied_and_both_live_on() -> None:
    slots = table([1, 2, 3, 4, 5, 6], [])
    assert slots.best([1, 2, 9], reuse=True) == Placement(slot=1, kept=2, source=0)


def test_a_copy_goes_to_the_slot_unused_for_longest_when_none_is_empty() -> None:
    slots = table([8], [1, 2, 3, 4, 5, 6], [7])
    assert slots.best([1, 2, 9], reuse=True) == Placement(slot=0, kept=2, source=1)


def test_without_reuse_the_prompt_starts_from_nothing() -> None:
    assert table([1, 2, 3]).best([1, 2, 3, 4], reuse=False).kept == 0


def test_memory_that_cannot_be_cut_is_reused_only_as_a_whole() -> None:
    slots = table([1, 2, 3], can_cut=False)
    assert slots.best([1, 2, 9], reuse=True).kept == 0
    assert slots.best([1, 2, 3, 4], reuse=True).kept == 3


def test_slots_in_use_are_neither_chosen_nor_evicted() -> None:
    slots = table([1, 2, 3], [4])
    slots.take(0)
    assert slots.best([1, 2, 3, 4], reuse=True).slot == 1
    assert slots.num_idle_tokens == 1
    assert slots.evict() == (1, 1)
    assert slots.evict() is None
    slots.take(1)
    assert not slots.has_idle


def test_the_slot_unused_for_longest_is_evicted_first() -> None:
    slots = table([1], [2], [3])
    slots.take(0)
    slots.give_back(0, [1])
    assert [slots.evict() for _ in range(4)] == [(1, 1), (2, 1), (0, 1), None]


def test_a_slot_serves_one_sequence_at_a_time() -> None:
    slots = table([])
    slots.take(0)
    with pytest.raises(AssertionError):
        slots.take(0)
    slots.give_back(0, [])
    with pytest.raises(AssertionError):
        slots.give_back(0, [])


@given(st.lists(PROMPTS, min_size=1, max_size=4), PROMPTS, st.booleans())
def test_what_is_kept_is_the_longest_reusable_prefix(
    held: list[list[int]], prompt: list[int], can_cut: bool
) -> None:
    place = table(*held, can_cut=can_cut).best(prompt, reuse=True)

    def reusable(tokens: list[int]) -> int:
        common = max(n for n in range(len(prompt)) if n <= len(tokens) and tokens[:n] == prompt[:n])
        return common if can_cut or common == len(tokens) else 0

    assert place.kept == max(map(reusable, held))
    assert held[place.source][: place.kept] == prompt[: place.kept]
    if not can_cut and place.kept:
        assert place.slot == place.source


def test_unwanted_tokens_are_never_continued_and_go_first() -> None:
    slots = table([1, 2, 3], [4])
    slots.take(1)
    slots.give_back(1, [1, 2, 3, 4], wanted=False)
    assert slots.best([1, 2, 3, 4, 5], reuse=True).source == 0
    assert slots.holds_too_much(100)
    assert slots.evict() == (1, 4)
    assert not slots.holds_too_much(100)


def test_too_much_is_held_beyond_the_limit_but_the_last_slot_is_spared() -> None:
    slots = table([1, 2, 3], [4, 5, 6])
    assert not slots.holds_too_much(6)
    assert slots.holds_too_much(5)
    slots.evict()
    assert not slots.holds_too_much(2)
