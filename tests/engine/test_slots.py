from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.cells import CellLedger
from localchat.engine.slots import Placement, SlotTable, common_prefix

PROMPTS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def table(*held: list[int], can_cut: bool = True, conversation: str | None = None) -> SlotTable:
    """Slots that hold these tokens, used one after the other."""
    cells = CellLedger(1000, len(held))
    slots = SlotTable(len(held), cells, can_cut=can_cut)
    for index, tokens in enumerate(held):
        slots.take(index)
        cells.append(index, len(tokens))
        slots.give_back(index, tokens, conversation=conversation)
    return slots


def best(slots: SlotTable, prompt: list[int], conversation: str | None = None) -> Placement:
    return slots.best(prompt, reuse=True, conversation=conversation)


def evicted(slots: SlotTable) -> tuple[int, list[int]] | None:
    slot = slots.evict()
    return None if slot is None else (slot.index, slot.tokens)


def test_the_next_turn_goes_to_the_slot_that_holds_its_conversation() -> None:
    assert best(table([9, 9], [1, 2, 3], [1]), [1, 2, 3, 4]) == Placement(1, 3, 1)


def test_a_small_part_of_a_long_conversation_is_copied_and_both_live_on() -> None:
    assert best(table([1, 2, 3, 4, 5, 6], []), [1, 2, 9]) == Placement(1, 2, 0)


def test_the_same_conversation_is_taken_over_however_little_of_it_is_kept() -> None:
    slots = table([1, 2, 3, 4, 5, 6], [], conversation="chat")
    assert best(slots, [1, 2, 9], "chat") == Placement(0, 2, 0)
    assert best(slots, [1, 2, 9], "other") == Placement(1, 2, 0)


def test_a_much_used_prefix_is_copied_and_never_taken_over() -> None:
    slots = table([1, 2, 3], [])
    assert best(slots, [1, 2, 3, 4]).slot == 0
    for _ in range(3):
        slots.copied_from(0)
    assert best(slots, [1, 2, 3, 4]) == Placement(1, 3, 0)


def test_a_copy_goes_to_the_slot_unused_for_longest_when_none_is_empty() -> None:
    assert best(table([8], [1, 2, 3, 4, 5, 6], [7]), [1, 2, 9]) == Placement(0, 2, 1)


def test_without_reuse_the_prompt_starts_from_nothing() -> None:
    assert table([1, 2, 3]).best([1, 2, 3, 4], reuse=False, conversation=None).kept == 0


def test_memory_that_cannot_be_cut_is_reused_only_as_a_whole() -> None:
    slots = table([1, 2, 3], can_cut=False)
    assert best(slots, [1, 2, 9]).kept == 0
    assert best(slots, [1, 2, 3, 4]).kept == 3


def test_memory_with_a_floor_is_reused_only_down_to_it() -> None:
    slots = table([])
    slots.take(0)
    slots.give_back(0, [1, 2, 3, 4])
    slots.learn_floors(lambda index: 2)
    assert best(slots, [1, 2, 9]).kept == 2
    assert best(slots, [1, 9]).kept == 0


def test_slots_in_use_are_neither_chosen_nor_evicted() -> None:
    slots = table([1, 2, 3], [4])
    slots.take(0)
    assert best(slots, [1, 2, 3, 4]).slot == 1
    assert slots.num_idle_cells == 1
    assert evicted(slots) == (1, [4])
    assert evicted(slots) is None
    slots.take(1)
    assert slots.num_idle == 0


def test_the_slot_unused_for_longest_is_evicted_first() -> None:
    slots = table([1], [2], [3])
    slots.take(0)
    slots.give_back(0, [1])
    slots.copied_from(1)
    assert [evicted(slots) for _ in range(4)] == [(2, [3]), (0, [1]), (1, [2]), None]


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
    place = best(table(*held, can_cut=can_cut), prompt)

    def reusable(tokens: list[int]) -> int:
        common = common_prefix(tokens, prompt)
        return common if can_cut or common == len(tokens) else 0

    assert place.kept == max(map(reusable, held))
    assert held[place.source][: place.kept] == prompt[: place.kept]
    if not can_cut and place.kept:
        assert place.kept == len(held[place.source])


@given(st.lists(st.integers(0, 1), max_size=200), st.lists(st.integers(0, 1), max_size=5))
def test_a_common_prefix_is_the_longest_one(head: list[int], tail: list[int]) -> None:
    left, right = [*head, 2, *tail], [*head, 3, *tail]
    assert common_prefix(left, right) == len(head)
    assert common_prefix(head, left) == common_prefix(left, head) == len(head)


def test_unwanted_tokens_are_never_continued_and_go_first() -> None:
    slots = table([1, 2, 3], [4])
    slots.take(1)
    slots.give_back(1, [1, 2, 3, 4], wanted=False)
    assert best(slots, [1, 2, 3, 4, 5]).source == 0
    assert slots.holds_too_much(100)
    assert evicted(slots) == (1, [1, 2, 3, 4])
    assert not slots.holds_too_much(100)


def test_too_much_is_held_beyond_the_limit_but_the_last_slot_is_spared() -> None:
    slots = table([1, 2, 3], [4, 5, 6])
    assert not slots.holds_too_much(6)
    assert slots.holds_too_much(5)
    slots.evict()
    assert not slots.holds_too_much(2)


def test_cells_that_a_running_sequence_shares_are_not_held_by_idle_slots() -> None:
    cells = CellLedger(100, 2)
    slots = SlotTable(2, cells, can_cut=True)
    slots.take(0)
    cells.append(0, 10)
    slots.give_back(0, [1] * 10)
    slots.take(1)
    cells.copy(0, 1, 8)
    assert slots.num_idle_cells == 2


def test_conversations_and_much_used_prefixes_are_worth_a_snapshot_once() -> None:
    slots = table([1] * 10, [2] * 20, conversation="chat")
    slot = slots.next_to_save(15)
    assert slot is not None
    assert slot.index == 1
    slot.is_saved = True
    assert slots.next_to_save(15) is None
    plain = table([1] * 10)
    for _ in range(3):
        assert plain.next_to_save(1) is None
        plain.copied_from(0)
    assert plain.next_to_save(1) is not None


def test_what_is_not_wanted_gets_no_snapshot() -> None:
    slots = table([])
    slots.take(0)
    slots.give_back(0, [1] * 10, wanted=False, conversation="chat")
    assert slots.next_to_save(1) is None


@pytest.mark.parametrize(
    ("at_most", "can_cut", "kept"), [(9, True, 3), (2, True, 2), (0, True, 0), (9, False, 0)]
)
def test_only_what_the_own_conversation_left_is_reused_and_no_more_than_asked(
    at_most: int, can_cut: bool, kept: int
) -> None:
    cells = CellLedger(1000, 3)
    slots = SlotTable(3, cells, can_cut=can_cut)
    for index, conversation in enumerate(("other", "own", None)):
        slots.take(index)
        slots.give_back(index, [1, 2, 3, 4 + index], conversation=conversation)
    assert slots.own([1, 2, 3, 9], "own", at_most) == Placement(1, kept, 1)
    assert slots.own([1, 2, 3, 4], "new", at_most).kept == 0
    assert slots.own([1, 2, 3, 4], None, at_most).kept == 0
    assert slots.own([1, 2, 3, 5], "own", 9) == Placement(1, 4, 1)
