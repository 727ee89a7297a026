"""Chooses the rows of the next batch. Deques and integers; no llama.cpp, no text.

Sequences that are decoding come first, one row each; chunks of prompts fill the rest of the token
budget. KV cells are a budget too: idle slots give theirs up first, then the newest sequence
waits and is computed again later. A request that fits the context alone always gets through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from localchat.engine.sequence import Sequence
from localchat.engine.slots import Placement, SlotTable

# The part of the KV cache that idle slots may hold together. Attention goes over every cell up to
# the last one in use, so what nobody may ever continue slows all others down: decoding by some 5%
# at a quarter of 8,192 cells, by 15% at all of them.
_IDLE_PART = 4

# Prompt tokens per step while others decode: a longer chunk would hold up their next token.
_PREFILL_BESIDE_DECODE = 128


class Aborted(Exception):
    """A batch was stopped on request before it was done."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a sequence, from position `start`; `is_last` ones are sampled from."""

    sequence: Sequence
    slot: int
    start: int
    count: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The slot's memory forgets everything from position `start` on."""

    slot: int
    start: int


@dataclass(frozen=True, slots=True)
class Copy:
    """The empty slot `target` gets the first `count` tokens of the memory of slot `source`."""

    source: int
    target: int
    count: int


@dataclass(slots=True)
class ScheduledBatch:
    """One step: first the memory edits, in order, then the chunks as one llama.cpp batch."""

    edits: list[Cut | Copy] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    num_tokens: int = 0


class Scheduler:
    """`num_cells` and `token_budget` count tokens: of the KV cache, and of one batch."""

    def __init__(self, slots: SlotTable, *, num_cells: int, token_budget: int) -> None:
        self.slots = slots
        self.num_cells = num_cells
        self.token_budget = token_budget
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._room = 0  # free cells, while a batch is put together

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def num_free_cells(self) -> int:
        computed = sum(sequence.num_computed_tokens for sequence in self.running)
        return self.num_cells - computed - self.slots.num_idle_tokens

    def add(self, sequence: Sequence) -> None:
        assert len(sequence.tokens) <= self.num_cells, "longer than the whole KV cache"
        self.waiting.append(sequence)

    def schedule(self) -> ScheduledBatch:
        """The next batch; empty if there is nothing to do."""
        batch = ScheduledBatch()
        self._admit(batch)  # first: a preempted sequence may come back with one token to decode
        self._room = self.num_free_cells
        self._decode(batch)
        self._prefill(batch)
        if batch.chunks:  # edits are made where a batch runs
            while self.slots.holds_too_much(self.num_cells // _IDLE_PART):
                self._evict(batch)
        return batch

    def postprocess(
        self, batch: ScheduledBatch, tokens: Iterable[int]
    ) -> list[tuple[Sequence, int]]:
        """Books a batch that ran; `tokens` are those sampled, in the order of the last chunks."""
        sampled = iter(tokens)
        grown = []
        for chunk in batch.chunks:
            chunk.sequence.num_computed_tokens += chunk.count
            if chunk.is_last:
                token = next(sampled)
                chunk.sequence.tokens.append(token)
                grown.append((chunk.sequence, token))
        return grown

    def roll_back(self, batch: ScheduledBatch, keep: Callable[[int, int], int]) -> None:
        """Books a batch that was aborted.

        `keep(slot, count)` cuts the slot's memory back to `count` tokens and returns how many
        it really holds then: fewer where the memory can't be cut.
        """
        for chunk in batch.chunks:
            chunk.sequence.num_computed_tokens = keep(chunk.slot, chunk.start)

    def finish(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Takes the sequence out, wherever it is.

        Its slot keeps the tokens, unless the memory does not hold them any more (not `keep`).
        """
        if sequence.slot is None:
            if sequence in self.waiting:
                self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        held = sequence.tokens[: sequence.num_computed_tokens] if keep else []
        self.slots.give_back(sequence.slot, held, wanted=sequence.request.reuse_cache)
        sequence.slot = None

    def _decode(self, batch: ScheduledBatch) -> None:
        for sequence in [s for s in self.running if s.is_decoding]:
            while sequence.slot is not None and self._room < 1:
                if not self._evict(batch):
                    self._preempt(self.running[-1], batch)
            if sequence.slot is not None and batch.num_tokens < self.token_budget:
                self._schedule(sequence, 1, batch)

    def _admit(self, batch: ScheduledBatch) -> None:
        while self.waiting and self.slots.has_idle:
            sequence = self.waiting[0]
            place = self.slots.best(sequence.tokens, reuse=sequence.request.reuse_cache)
            if self.running and self._num_promisable < len(sequence.tokens):
                return
            self.waiting.popleft()
            self._place(sequence, place, batch)
            sequence.num_computed_tokens = place.kept
            if sequence.num_completion_tokens == 0:
                sequence.num_cached_tokens = place.kept
            self.running.append(sequence)

    @property
    def _num_promisable(self) -> int:
        """Cells that are neither in use by a running sequence nor needed for its prompt."""
        return self.num_cells - sum(len(sequence.tokens) for sequence in self.running)

    def _place(self, sequence: Sequence, place: Placement, batch: ScheduledBatch) -> None:
        held = self.slots.take(place.slot)
        sequence.slot = place.slot
        if place.source != place.slot:
            if held:
                batch.edits.append(Cut(place.slot, 0))
            batch.edits.append(Copy(place.source, place.slot, place.kept))
        elif place.kept < held:
            batch.edits.append(Cut(place.slot, place.kept))

    def _prefill(self, batch: ScheduledBatch) -> None:
        budget = self.token_budget - batch.num_tokens
        if batch.chunks:
            budget = min(budget, _PREFILL_BESIDE_DECODE)
        for sequence in [s for s in self.running if not s.is_decoding]:
            if budget <= 0:
                return
            wanted = min(sequence.num_remaining_tokens, budget)
            while sequence.slot is not None and self._room < wanted and self._evict(batch):
                pass
            while not batch.chunks and self._room < 1 and self.running[-1] is not sequence:
                self._preempt(self.running[-1], batch)
            count = min(wanted, self._room)
            if sequence.slot is not None and count > 0:
                self._schedule(sequence, count, batch)
                budget -= count

    def _schedule(self, sequence: Sequence, count: int, batch: ScheduledBatch) -> None:
        assert sequence.slot is not None
        start = sequence.num_computed_tokens
        is_last = start + count == len(sequence.tokens)
        batch.chunks.append(Chunk(sequence, sequence.slot, start, count, is_last))
        batch.num_tokens += count
        self._room -= count

    def _evict(self, batch: ScheduledBatch) -> bool:
        evicted = self.slots.evict()
        if evicted is None:
            return False
        slot, freed = evicted
        batch.edits.append(Cut(slot, 0))
        self._room += freed
        return True

    def _preempt(self, sequence: Sequence, batch: ScheduledBatch) -> None:
        assert sequence.slot is not None
        for chunk in [chunk for chunk in batch.chunks if chunk.sequence is sequence]:
            batch.chunks.remove(chunk)
            batch.num_tokens -= chunk.count
            self._room += chunk.count
        self._room += sequence.num_computed_tokens
        batch.edits.append(Cut(sequence.slot, 0))
        self.finish(sequence, keep=False)
        sequence.num_computed_tokens = 0
        self.waiting.appendleft(sequence)
