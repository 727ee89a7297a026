"""Where in the KV cache a request begins, and what makes room for it.

Slots say which tokens are in memory, cells how much room they take, saved states what was there
before. What is decided here becomes edits of the next batch; nothing is touched before it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from localchat.engine.cells import CellLedger
from localchat.engine.saved import Saved
from localchat.engine.scheduled import Copy, Cut, Restore, Save, ScheduledBatch
from localchat.engine.sequence import Sequence
from localchat.engine.slots import Placement, Slot, SlotTable, common_prefix

# The part of the KV cache that idle slots may hold together. Attention goes over every cell up to
# the last one in use, so what nobody may ever continue slows all others down: decoding by some 5%
# at a quarter of 8,192 cells, by 15% at all of them.
_IDLE_PART = 4

# Tokens that another sequence must be about to compute to be worth waiting for, in place of
# computing them too; and those a saved state must add to be worth reading.
_WORTH_WAITING = 32
_WORTH_RESTORING = 64

# Tokens from which an emptied slot is kept on disk: fewer are computed again in no time.
WORTH_SAVING = 256


class States(Protocol):
    """What is needed of `localchat.engine.saved.SavedStates`."""

    def find(self, prompt: list[int], beyond: int) -> Saved | None: ...


@dataclass(frozen=True, slots=True)
class Start:
    """How a sequence begins: a slot with something of its prompt in it."""

    place: Placement
    is_shared: bool = False
    """Its prefix is in cells of a running sequence, and takes no others."""


class KVCache:
    """The slots and cells of one context, and the states that may come back into them.

    `floor` tells to how many tokens a slot's memory can be cut back at least, which each step may
    change; None: to any number.
    """

    def __init__(
        self,
        slots: SlotTable,
        cells: CellLedger,
        *,
        states: States | None = None,
        floor: Callable[[int], int] | None = None,
    ) -> None:
        self.slots = slots
        self.cells = cells
        self._states = states
        self._floor = floor

    @property
    def num_available(self) -> int:
        """Cells that no running sequence holds."""
        return self.cells.num_free + self.slots.num_idle_cells

    @property
    def has_floors(self) -> bool:
        return self._floor is not None

    def learn_floors(self, running: Iterable[Sequence]) -> None:
        """What a sliding window has left is there until llama.cpp needs its cells for others."""
        if self._floor is not None:
            self.slots.learn_floors(self._floor)
            for sequence in running:
                assert sequence.slot is not None
                sequence.floor = self._floor(sequence.slot)

    def find_start(self, sequence: Sequence, running: Iterable[Sequence]) -> Start | None:
        """Where the most of the prompt is there; None: wait, another will soon have more of it."""
        request = sequence.request
        prompt = sequence.tokens[: sequence.num_reusable_tokens]
        if request.reuse_own is not None:
            return Start(self.slots.own(prompt, request.conversation, request.reuse_own))
        start = Start(
            self.slots.best(prompt, reuse=request.reuse_cache, conversation=request.conversation)
        )
        if not request.reuse_cache:
            return start
        coming = 0
        for other in running:
            if not other.request.reuse_cache:
                continue
            there, soon = self._shared(other, prompt)
            if there > start.place.kept:
                assert other.slot is not None
                start = Start(Placement(self.slots.oldest(), there, other.slot), is_shared=True)
            if other.is_interactive or not sequence.is_interactive:
                coming = max(coming, soon)
        return None if coming >= start.place.kept + _WORTH_WAITING else start

    def place(
        self, sequence: Sequence, start: Start, num_needed: int, batch: ScheduledBatch
    ) -> None:
        """Gives the sequence its slot, with what `start` found, or a saved state that holds more.

        `num_needed`: cells that running sequences will take to compute what they have.
        """
        place, request = start.place, sequence.request
        if saved := self._find_saved(sequence, start, num_needed):
            self._restore(sequence, saved, batch)
        elif place.source == place.slot:
            before = self.slots.take(place.slot)
            if before.conversation is None or before.conversation != request.conversation:
                self._save(before, batch)
            self.cut(place.slot, place.kept, batch)
            self._begin(sequence, place.slot, place.kept)
        else:
            if not start.is_shared:
                self.slots.copied_from(place.source)
            self._drop(self.slots.take(place.slot), batch)
            self.cells.copy(place.source, place.slot, place.kept)
            batch.edits.append(Copy(place.source, place.slot, place.kept))
            self._begin(sequence, place.slot, place.kept)

    def cut(self, slot: int, start: int, batch: ScheduledBatch) -> None:
        """The slot keeps its first `start` tokens."""
        if self.cells.length(slot) > start:
            self.cells.cut(slot, start)
            batch.edits.append(Cut(slot, start))

    def evict(self, batch: ScheduledBatch) -> bool:
        """Empties the idle slot that is missed least; False if all are empty."""
        evicted = self.slots.evict()
        if evicted is None:
            return False
        self._drop(evicted, batch)
        return True

    def trim(self, batch: ScheduledBatch) -> None:
        """Empties idle slots until together they hold no more than they may."""
        while self.slots.holds_too_much(self.cells.count // _IDLE_PART):
            self.evict(batch)

    def _shared(self, other: Sequence, prompt: list[int]) -> tuple[int, int]:
        """Tokens of the prompt that a running sequence has in memory now, and will have soon."""
        common = common_prefix(other.tokens, prompt)
        if self.slots.can_cut:
            there = min(common, other.num_computed_tokens)
            return (there, common) if there >= other.floor else (0, 0)
        there = other.num_computed_tokens if other.num_computed_tokens <= common else 0
        points = [p for p in other.checkpoints if other.num_computed_tokens < p <= common]
        return there, max(points, default=0)

    def _find_saved(self, sequence: Sequence, start: Start, num_needed: int) -> Saved | None:
        """A saved state that holds much more of the prompt, if it can be restored whole."""
        request = sequence.request
        if self._states is None or not request.reuse_cache or request.reuse_own is not None:
            return None
        prompt = sequence.tokens[: sequence.num_reusable_tokens]
        saved = self._states.find(prompt, start.place.kept + _WORTH_RESTORING)
        if saved is None:
            return None
        return saved if len(saved.tokens) + num_needed <= self.num_available else None

    def _restore(self, sequence: Sequence, saved: Saved, batch: ScheduledBatch) -> None:
        """Into the idle slot missed least; then what does not begin the prompt is cut off."""
        slot = self.slots.oldest()
        self._drop(self.slots.take(slot), batch)
        while self.cells.num_free < len(saved.tokens):
            evicted = self.evict(batch)
            assert evicted, "there was room for the state"
        self.cells.append(slot, len(saved.tokens))
        batch.edits.append(Restore(slot, saved.tokens, saved.state))
        self.cut(slot, saved.kept, batch)
        self._begin(sequence, slot, saved.kept)

    def _begin(self, sequence: Sequence, slot: int, kept: int) -> None:
        sequence.slot = slot
        sequence.floor = kept if self._floor else 0  # it is not there yet to be asked about
        sequence.num_computed_tokens = kept
        if sequence.num_completion_tokens == 0:
            sequence.num_cached_tokens = kept

    def _drop(self, slot: Slot, batch: ScheduledBatch) -> None:
        """Empties a slot, of which `slot` says what it held."""
        self._save(slot, batch)
        self.cut(slot.index, 0, batch)

    def _save(self, slot: Slot, batch: ScheduledBatch) -> None:
        """Keeps what the slot held, if that is worth it."""
        if slot.is_worth_saving and len(slot.tokens) >= WORTH_SAVING:
            batch.edits.append(Save(slot.index, slot.tokens, slot.conversation))
