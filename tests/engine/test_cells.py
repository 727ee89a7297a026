from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localchat.engine.cells import CellLedger
from localchat.engine.scheduled import Copy
from tests.engine.fakes import FakeMemory

COUNT, SLOTS = 12, 4
SLOT = st.integers(0, SLOTS - 1)


class LedgerAndMemory(RuleBasedStateMachine):
    """The ledger says of any edits what a memory that makes them holds."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CellLedger(COUNT, SLOTS)
        self.memory = FakeMemory(COUNT, can_cut=True)

    @rule(slot=SLOT, count=st.integers(0, COUNT))
    def append(self, slot: int, count: int) -> None:
        count = min(count, self.ledger.num_free)
        self.ledger.append(slot, count)
        self.memory.append(slot, [0] * count)

    @rule(slot=SLOT, start=st.integers(0, COUNT))
    def cut(self, slot: int, start: int) -> None:
        self.ledger.cut(slot, start)
        self.memory.cut(slot, start)

    @precondition(lambda self: any(map(self.memory.length, range(SLOTS))))
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from([s for s in range(SLOTS) if self.memory.length(s)]))
        target = data.draw(SLOT.filter(lambda slot: slot != source))
        self.cut(target, 0)
        count = data.draw(st.integers(1, self.memory.length(source)))
        self.ledger.copy(source, target, count)
        self.memory.copy(Copy(source, target, count))

    @rule(slots=st.sets(SLOT))
    def free_if_let_go(self, slots: set[int]) -> None:
        others = [self.memory.slots.get(slot, []) for slot in range(SLOTS) if slot not in slots]
        left = len({cell for cells in others for cell, _ in cells})
        freed = self.ledger.num_held_only_by(sorted(slots))
        assert freed == self.memory.num_used - left

    @invariant()
    def agree(self) -> None:
        assert COUNT - self.ledger.num_free == self.memory.num_used
        for slot in range(SLOTS):
            assert self.ledger.length(slot) == self.memory.length(slot)


LedgerAndMemory.TestCase.settings = settings(max_examples=60, deadline=None)
TestLedgerAndMemory = LedgerAndMemory.TestCase


def test_more_tokens_than_cells_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="more tokens than KV cells"):
        CellLedger(2, 1).append(0, 3)


def test_a_copy_needs_an_empty_slot_and_a_source_that_long() -> None:
    ledger = CellLedger(8, 2)
    ledger.append(0, 2)
    ledger.append(1, 1)
    with pytest.raises(AssertionError, match="the target of a copy is empty"):
        ledger.copy(0, 1, 1)
    ledger.cut(1, 0)
    with pytest.raises(AssertionError):
        ledger.copy(0, 1, 3)
