"""Chooses the rows of the next batch. Deques and integers; no llama.cpp, no text.

Sequences that are decoding come first, one row each; chunks of prompts fill the rest of the token
budget. Interactive requests go before those of a batch. KV cells are a budget too: idle slots
give theirs up first, then the newest sequence waits and is computed again later. A request that
fits the context alone always gets through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

from localchat.engine.cells import CellLedger
from localchat.engine.saved import Saved
from localchat.engine.scheduled import Chunk, Copy, Cut, Output, Restore, Save, ScheduledBatch
from localchat.engine.sequence import Sequence
from localchat.engine.slots import Placement, Slot, SlotTable, common_prefix

# The part of the KV cache that idle slots may hold together. Attention goes over every cell up to
# the last one in use, so what nobody may ever continue slows all others down: decoding by some 5%
# at a quarter of 8,192 cells, by 15% at all of them.
_IDLE_PART = 4

# Prompt tokens per step while others decode: a longer chunk would hold up their next token.
_PREFILL_BESIDE_DECODE = 128

# Tokens that another sequence must be about to compute to be worth waiting for, in place of
# computing them too; and those a saved state must add to be worth reading.
_WORTH_WAITING = 32
_WORTH_RESTORING = 64

# Tokens from which an emptied slot is kept on disk: fewer are computed again in no time.
WORTH_SAVING = 256

# Rows of a batch that one interactive step earns. Some two rows more take as long as one row
# alone, so a chat and a batch get about half of the time each.
_BATCH_ROWS_EARNED = 2.0
_MOST_BATCH_ROWS = 64.0


class Drafter(Protocol):
    """Guesses the tokens that follow a sequence; see `localchat.engine.speculation`."""

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]: ...


class States(Protocol):
    """What is needed of `localchat.engine.saved.SavedStates`."""

    def find(self, prompt: list[int], beyond: int) -> Saved | None: ...


@dataclass(frozen=True, slots=True)
class _Start:
    """How a sequence begins: a slot with something of its prompt in it."""

    place: Placement
    is_shared: bool = False
    """Its prefix is in cells of a running sequence, and takes no others."""


class Scheduler:
    """`token_budget` counts the rows of one batch; `num_spare` slots are kept from batches.

    `floor` tells to how many tokens a slot's memory can be cut back at least, which each step may
    change; None: to any number.
    """

    def __init__(
        self,
        slots: SlotTable,
        cells: CellLedger,
        *,
        token_budget: int,
        num_spare: int = 0,
        states: States | None = None,
        drafter: Drafter | None = None,
        floor: Callable[[int], int] | None = None,
    ) -> None:
        self.slots = slots
        self.cells = cells
        self.token_budget = token_budget
        self.running: list[Sequence] = []
        self._interactive: deque[Sequence] = deque()
        self._batch: deque[Sequence] = deque()
        self._num_spare = num_spare
        self._states = states
        self._drafter = drafter
        self._floor = floor
        self._earned = 0.0  # rows that batches may have beside interactive requests

    @property
    def has_work(self) -> bool:
        return bool(self._interactive or self._batch or self.running)

    @property
    def waiting(self) -> Iterator[Sequence]:
        """In the order they will run."""
        return chain(self._interactive, self._batch)

    def add(self, sequence: Sequence) -> None:
        assert len(sequence.tokens) <= self.cells.count, "longer than the whole KV cache"
        self._queue(sequence).append(sequence)

    def schedule(self) -> ScheduledBatch:
        """The next batch; empty if there is nothing to do."""
        batch = ScheduledBatch()
        self._learn_floors()
        self._admit(batch)  # first: a preempted sequence may come back with one token to decode
        turn = self._turn()
        self._decode(turn, batch)
        self._prefill(turn, batch)
        if len({sequence.is_interactive for sequence in self.running}) < 2:
            self._earned = 0.0  # nobody has to share
        if batch.chunks:  # edits are made where a batch runs
            while self.slots.holds_too_much(self.cells.count // _IDLE_PART):
                self._evict(batch)
        return batch

    def postprocess(
        self, batch: ScheduledBatch, outputs: Iterable[Output]
    ) -> list[tuple[Sequence, Output]]:
        """Books a batch that ran; `outputs` are those of its chunks, in order."""
        grown = []
        for chunk, output in zip(batch.chunks, outputs, strict=True):
            sequence = chunk.sequence
            num_right = max(0, len(output.tokens) - 1)
            sequence.num_computed_tokens = chunk.end + num_right
            if chunk.draft:
                self.cells.cut(chunk.slot, sequence.num_computed_tokens)
            sequence.tokens.extend(output.tokens)
            grown.append((sequence, output))
        return grown

    def roll_back(self, batch: ScheduledBatch, keep: Callable[[int, int], int]) -> None:
        """Books a batch that was aborted.

        `keep(slot, count)` cuts the slot's memory back to `count` tokens and returns how many
        it really holds then: fewer where the memory can't be cut.
        """
        for chunk in batch.chunks:
            self.keep(chunk.sequence, chunk.start, keep)

    def keep(self, sequence: Sequence, count: int, keep: Callable[[int, int], int]) -> None:
        """Cuts a running sequence's memory back to `count` tokens, by `keep` as in `roll_back`."""
        assert sequence.slot is not None
        sequence.num_computed_tokens = keep(sequence.slot, count)
        self.cells.cut(sequence.slot, sequence.num_computed_tokens)

    def finish(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Takes the sequence out, wherever it is.

        Its slot keeps the tokens, unless the memory does not hold them any more (not `keep`).
        """
        if sequence.slot is None:
            queue = self._queue(sequence)
            if sequence in queue:
                queue.remove(sequence)
            return
        self.running.remove(sequence)
        held = sequence.tokens[: sequence.num_computed_tokens] if keep else []
        self.cells.cut(sequence.slot, len(held))
        request = sequence.request
        self.slots.give_back(
            sequence.slot,
            held,
            wanted=request.reuse_cache and self._may_be_continued(sequence),
            conversation=request.conversation,
        )
        sequence.slot = None

    def _may_be_continued(self, sequence: Sequence) -> bool:
        """Whether to keep what a finished request leaves in its slot.

        What requests of a batch have in common is in those that still run; the rest only makes
        attention slower for all.
        """
        if sequence.is_interactive or sequence.request.conversation is not None:
            return True
        return all(other.is_interactive for other in self.running)

    def _queue(self, sequence: Sequence) -> deque[Sequence]:
        return self._interactive if sequence.is_interactive else self._batch

    # -- which sequences may run

    def _learn_floors(self) -> None:
        """What a sliding window has left is there until llama.cpp needs its cells for others."""
        if self._floor is not None:
            self.slots.learn_floors(self._floor)
            for sequence in self.running:
                assert sequence.slot is not None
                sequence.floor = self._floor(sequence.slot)

    def _admit(self, batch: ScheduledBatch) -> None:
        num_slots = self.slots.num_idle
        # Nobody is overtaken for good: one that waits for another's prefix has a slot kept for it.
        for sequence in list(islice(self.waiting, num_slots)):
            if num_slots <= (0 if sequence.is_interactive else self._num_spare):
                return
            if self._floor and any(isinstance(edit, Restore) for edit in batch.edits):
                return  # the state may take cells that other windows have left
            start = self._find_start(sequence)
            if not self._has_cells_for(sequence, start):
                return
            num_slots -= 1
            if start is not None:
                self._queue(sequence).remove(sequence)
                self._place(sequence, start, batch)

    def _has_cells_for(self, sequence: Sequence, start: _Start | None) -> bool:
        """Whether enough cells are neither used by running sequences nor needed by their prompts.

        An interactive request may have those of a batch.
        """
        rivals = self.running
        free = self.cells.num_free + self.slots.num_idle_cells
        if sequence.is_interactive:
            rivals = [running for running in self.running if running.is_interactive]
            free += sum(s.num_computed_tokens for s in self.running if not s.is_interactive)
        needed = len(sequence.tokens) + sum(rival.num_remaining_tokens for rival in rivals)
        if start is not None and start.is_shared:
            needed -= start.place.kept
        return not rivals or needed <= free

    def _find_start(self, sequence: Sequence) -> _Start | None:
        """Where the most of the prompt is there; None: wait, another will soon have more of it."""
        request = sequence.request
        prompt = sequence.tokens[: sequence.num_reusable_tokens]
        start = _Start(
            self.slots.best(prompt, reuse=request.reuse_cache, conversation=request.conversation)
        )
        if not request.reuse_cache:
            return start
        coming = 0
        for other in self.running:
            if not other.request.reuse_cache:
                continue
            there, soon = self._shared(other, prompt)
            if there > start.place.kept:
                assert other.slot is not None
                start = _Start(Placement(self.slots.oldest(), there, other.slot), is_shared=True)
            if other.is_interactive or not sequence.is_interactive:
                coming = max(coming, soon)
        return None if coming >= start.place.kept + _WORTH_WAITING else start

    def _find_saved(self, sequence: Sequence, start: _Start) -> Saved | None:
        """A saved state that holds much more of the prompt, if it can be restored whole."""
        if self._states is None or not sequence.request.reuse_cache:
            return None
        prompt = sequence.tokens[: sequence.num_reusable_tokens]
        saved = self._states.find(prompt, start.place.kept + _WORTH_RESTORING)
        if saved is None:
            return None
        needed = sum(running.num_remaining_tokens for running in self.running)
        free = self.cells.num_free + self.slots.num_idle_cells
        return saved if len(saved.tokens) + needed <= free else None

    def _shared(self, other: Sequence, prompt: list[int]) -> tuple[int, int]:
        """Tokens of the prompt that a running sequence has in memory now, and will have soon."""
        common = common_prefix(other.tokens, prompt)
        if self.slots.can_cut:
            there = min(common, other.num_computed_tokens)
            return (there, common) if there >= other.floor else (0, 0)
        there = other.num_computed_tokens if other.num_computed_tokens <= common else 0
        points = [p for p in other.checkpoints if other.num_computed_tokens < p <= common]
        return there, max(points, default=0)

    def _place(self, sequence: Sequence, start: _Start, batch: ScheduledBatch) -> None:
        place, request = start.place, sequence.request
        if saved := self._find_saved(sequence, start):
            self._restore(sequence, saved, batch)
        elif place.source == place.slot:
            before = self.slots.take(place.slot)
            if before.conversation is None or before.conversation != request.conversation:
                self._save(before, batch)
            self._cut(place.slot, place.kept, batch)
            self._begin(sequence, place.slot, place.kept)
        else:
            if not start.is_shared:
                self.slots.copied_from(place.source)
            self._drop(self.slots.take(place.slot), batch)
            self.cells.copy(place.source, place.slot, place.kept)
            batch.edits.append(Copy(place.source, place.slot, place.kept))
            self._begin(sequence, place.slot, place.kept)

    def _restore(self, sequence: Sequence, saved: Saved, batch: ScheduledBatch) -> None:
        """Into the idle slot missed least; then what does not begin the prompt is cut off."""
        slot = self.slots.oldest()
        self._drop(self.slots.take(slot), batch)
        while self.cells.num_free < len(saved.tokens):
            evicted = self._evict(batch)
            assert evicted, "there was room for the state"
        self.cells.append(slot, len(saved.tokens))
        batch.edits.append(Restore(slot, saved.tokens, saved.state))
        self._cut(slot, saved.kept, batch)
        self._begin(sequence, slot, saved.kept)

    def _begin(self, sequence: Sequence, slot: int, kept: int) -> None:
        sequence.slot = slot
        sequence.floor = kept if self._floor else 0  # it is not there yet to be asked about
        sequence.num_computed_tokens = kept
        if sequence.num_completion_tokens == 0:
            sequence.num_cached_tokens = kept
        self.running.append(sequence)

    # -- who runs in this step

    def _turn(self) -> list[Sequence]:
        """Those whose rows may be in the next batch.

        Prompts of interactive requests have the machine to themselves. While interactive
        replies are decoded, batches get a step now and then.
        """
        interactive = [sequence for sequence in self.running if sequence.is_interactive]
        if not interactive or len(interactive) == len(self.running):
            return list(self.running)
        if not all(sequence.is_decoding for sequence in interactive):
            return interactive
        self._earned = min(self._earned + _BATCH_ROWS_EARNED, _MOST_BATCH_ROWS)
        decoding = sum(s.is_decoding and not s.is_interactive for s in self.running)
        if self._earned < (min(decoding, _MOST_BATCH_ROWS) or _MOST_BATCH_ROWS / 2):
            return interactive
        return list(self.running)

    def _decode(self, turn: list[Sequence], batch: ScheduledBatch) -> None:
        for sequence in [s for s in turn if s.is_decoding]:
            while sequence.slot is not None and self.cells.num_free < 1:
                if not self._evict(batch):
                    self._preempt(self._newest(), batch)
            if sequence.slot is not None and batch.num_tokens < self.token_budget:
                self._schedule(sequence, 1, batch, self._draft(sequence))
                if not sequence.is_interactive:
                    self._earned -= 1

    def _draft(self, sequence: Sequence) -> tuple[int, ...]:
        """Guesses, for a sequence that has the machine to itself: rows of others gain more."""
        if self._drafter is None or len(self.running) > 1 or not sequence.request.speculate:
            return ()
        most = min(self.cells.num_free, self.token_budget) - 1
        return self._drafter.propose(sequence, most)

    def _prefill(self, turn: list[Sequence], batch: ScheduledBatch) -> None:
        budget = self.token_budget - batch.num_tokens
        if any(chunk.sequence.is_interactive for chunk in batch.chunks):
            budget = min(budget, _PREFILL_BESIDE_DECODE)
        is_mixed = len({sequence.is_interactive for sequence in turn}) > 1
        for sequence in [s for s in turn if not s.is_decoding]:
            if sequence.slot is None:  # preempted since
                continue
            if is_mixed:  # then what is not decoding belongs to a batch
                budget = min(budget, int(self._earned))
            if budget <= 0:
                return
            wanted = min(sequence.num_remaining_tokens, budget)
            for point in sequence.checkpoints:
                if sequence.num_computed_tokens < point:
                    wanted = min(wanted, point - sequence.num_computed_tokens)
                    break
            while self.cells.num_free < wanted and self._evict(batch):
                pass
            while self.cells.num_free < 1 and self._may_preempt(sequence, batch):
                self._preempt(self._newest(), batch)
            count = min(wanted, self.cells.num_free)
            if count > 0:
                self._schedule(sequence, count, batch)
                budget -= count
                if not sequence.is_interactive:
                    self._earned -= count

    def _schedule(
        self, sequence: Sequence, count: int, batch: ScheduledBatch, draft: tuple[int, ...] = ()
    ) -> None:
        assert sequence.slot is not None
        start = sequence.num_computed_tokens
        is_last = start + count == len(sequence.tokens)
        chunk = Chunk(sequence, sequence.slot, start, count, is_last, draft)
        batch.chunks.append(chunk)
        batch.num_tokens += chunk.num_rows
        self.cells.append(sequence.slot, chunk.num_rows)

    # -- making room

    def _evict(self, batch: ScheduledBatch) -> bool:
        evicted = self.slots.evict()
        if evicted is None:
            return False
        self._drop(evicted, batch)
        return True

    def _drop(self, slot: Slot, batch: ScheduledBatch) -> None:
        """Empties a slot, of which `slot` says what it held."""
        self._save(slot, batch)
        self._cut(slot.index, 0, batch)

    def _save(self, slot: Slot, batch: ScheduledBatch) -> None:
        """Keeps what the slot held, if that is worth it."""
        if slot.is_worth_saving and len(slot.tokens) >= WORTH_SAVING:
            batch.edits.append(Save(slot.index, slot.tokens, slot.conversation is not None))

    def _cut(self, slot: int, start: int, batch: ScheduledBatch) -> None:
        if self.cells.length(slot) > start:
            self.cells.cut(slot, start)
            batch.edits.append(Cut(slot, start))

    def _newest(self) -> Sequence:
        """Who has to wait when cells run out."""
        batch = [sequence for sequence in self.running if not sequence.is_interactive]
        return (batch or self.running)[-1]

    def _may_preempt(self, sequence: Sequence, batch: ScheduledBatch) -> bool:
        """Whether the newest has to go for this one: else a prompt waits till others are done."""
        newest = self._newest()
        if sequence.is_interactive and not newest.is_interactive:
            return True
        return newest is not sequence and not batch.chunks

    def _preempt(self, sequence: Sequence, batch: ScheduledBatch) -> None:
        assert sequence.slot is not None
        for chunk in [chunk for chunk in batch.chunks if chunk.sequence is sequence]:
            batch.chunks.remove(chunk)
            batch.num_tokens -= chunk.num_rows
        self._cut(sequence.slot, 0, batch)
        self.finish(sequence, keep=False)
        sequence.num_computed_tokens = 0
        self._queue(sequence).appendleft(sequence)
