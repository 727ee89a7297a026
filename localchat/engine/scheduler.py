"""Chooses the rows of the next batch. Deques and integers; no llama.cpp, no text.

Sequences that are decoding come first, one row each; chunks of prompts fill the rest of the token
budget. Interactive requests go before those of a batch. KV cells are a budget too: idle slots
give theirs up first, then the newest sequence waits and is computed again later. A request that
fits the context alone always gets through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Protocol

from localchat.engine.kv_cache import KVCache, Start
from localchat.engine.scheduled import Chunk, Copy, Output, Restore, ScheduledBatch
from localchat.engine.sequence import Sequence

# Prompt tokens per step while others decode: a longer chunk would hold up their next token.
_PREFILL_BESIDE_DECODE = 128

# Rows of a batch that one interactive step earns. Some two rows more take as long as one row
# alone, so a chat and a batch get about half of the time each.
_BATCH_ROWS_EARNED = 2.0
_MOST_BATCH_ROWS = 64.0

# Waiting sequences that each step looks at: those that have come first.
_MOST_LOOKED_AT = 256


class Drafter(Protocol):
    """Guesses the tokens that follow a sequence; see `localchat.engine.speculation`."""

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]: ...


class Scheduler:
    """`token_budget` counts the rows of one batch; `num_spare` slots are kept from batches."""

    def __init__(
        self,
        cache: KVCache,
        *,
        token_budget: int,
        num_spare: int = 0,
        drafter: Drafter | None = None,
    ) -> None:
        self.cache = cache
        self.slots = cache.slots
        self.cells = cache.cells
        self.token_budget = token_budget
        self.running: list[Sequence] = []
        self._interactive: deque[Sequence] = deque()
        self._batch: deque[Sequence] = deque()
        self._num_spare = num_spare
        self._drafter = drafter
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
        self.cache.learn_floors(self.running)
        self._admit(batch)  # first: a preempted sequence may come back with one token to decode
        turn = self._turn()
        self._decode(turn, batch)
        self._prefill(turn, batch)
        if len({sequence.is_interactive for sequence in self.running}) < 2:
            self._earned = 0.0  # nobody has to share
        if batch.chunks:  # edits are made where a batch runs
            self.cache.trim(batch)
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

    def roll_back(self, keep: Callable[[int, int], int]) -> None:
        """Books a batch that was aborted.

        `keep(slot, count)` cuts the slot's memory back to `count` tokens and returns how many
        it really holds then: fewer where the memory can't be cut. There slots that the batch was
        not about may have lost theirs too, so all are asked.
        """
        for sequence in self.running:
            self.keep(sequence, sequence.num_computed_tokens, keep)
        for slot in self.slots.drop_lost(keep):
            self.cells.cut(slot, 0)

    def distrust(self, batch: ScheduledBatch, keep: Callable[[int, int], int]) -> list[Sequence]:
        """Books a batch that failed; `keep` as in `roll_back`.

        Returns the sequences that it was about: nothing in the memory of these can be trusted.
        """
        slots = {chunk.slot for chunk in batch.chunks}
        for edit in batch.edits:
            match edit:
                case Restore(slot) | Copy(_, slot):
                    slots.add(slot)
        hit = [sequence for sequence in self.running if sequence.slot in slots]
        for sequence in hit:
            self.keep(sequence, 0, keep)
        self.roll_back(keep)
        return hit

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
            private=request.private,
        )
        sequence.slot = None

    def _may_be_continued(self, sequence: Sequence) -> bool:
        """Whether to keep what a finished request leaves in its slot.

        What requests of a batch have in common is in those that still run; the rest only makes
        attention slower for all.
        """
        request = sequence.request
        if sequence.is_interactive or request.conversation is not None:
            return True
        if request.continuations and any(other.request is request for other in self._batch):
            return True  # the next text to score goes on in this very slot
        return all(other.is_interactive for other in self.running)

    def _queue(self, sequence: Sequence) -> deque[Sequence]:
        return self._interactive if sequence.is_interactive else self._batch

    # -- which sequences may run

    def _admit(self, batch: ScheduledBatch) -> None:
        num_slots = self.slots.num_idle
        busy = {
            id(running.request) for running in self.running if self._goes_before_its_kin(running)
        }
        # Nobody is overtaken for good: one that waits for another's prefix has a slot kept for it.
        # One that waits for another of its own request has not, since it is next after that.
        for sequence in list(islice(self.waiting, _MOST_LOOKED_AT)):
            if num_slots <= (0 if sequence.is_interactive else self._num_spare):
                return
            if self.cache.has_floors and any(isinstance(edit, Restore) for edit in batch.edits):
                return  # the state may take cells that other windows have left
            if id(sequence.request) in busy:
                continue
            start = self.cache.find_start(sequence, self.running)
            if not self._has_cells_for(sequence, start):
                return
            num_slots -= 1
            if start is not None:
                self._queue(sequence).remove(sequence)
                num_needed = sum(running.num_remaining_tokens for running in self.running)
                self.cache.place(sequence, start, num_needed, batch)
                self.running.append(sequence)
            if self.slots.can_cut and (start is None or self._goes_before_its_kin(sequence)):
                busy.add(id(sequence.request))

    def _goes_before_its_kin(self, sequence: Sequence) -> bool:
        """Whether others of its request should wait for what it leaves in the KV cache.

        While it computes the prompt that they have too; and texts that a batch has scored take one
        slot in turn, so that other rows' prompts are read beside them. Memory that can't be cut has
        nothing for them but at checkpoints.
        """
        request = sequence.request
        if not (self.slots.can_cut and request.reuse_cache and request.reuse_own is None):
            return False
        if request.continuations and not sequence.is_interactive:
            return True
        return sequence.num_computed_tokens < sequence.num_prompt_tokens - 1

    def _has_cells_for(self, sequence: Sequence, start: Start | None) -> bool:
        """Whether enough cells are neither used by running sequences nor needed by their prompts.

        An interactive request may have those of a batch.
        """
        rivals = self.running
        free = self.cache.num_available
        if sequence.is_interactive:
            rivals = [running for running in self.running if running.is_interactive]
            free += sum(s.num_computed_tokens for s in self.running if not s.is_interactive)
        needed = len(sequence.tokens) + sum(rival.num_remaining_tokens for rival in rivals)
        if start is not None and start.is_shared:
            needed -= start.place.kept
        return not rivals or needed <= free

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
                if not self.cache.evict(batch):
                    self._preempt(self._newest(), batch)
            if sequence.slot is not None and batch.num_tokens < self.token_budget:
                self._schedule(sequence, 1, batch, self._draft(sequence))
                if not sequence.is_interactive:
                    self._earned -= 1

    def _draft(self, sequence: Sequence) -> tuple[int, ...]:
        """Guesses, for a sequence that has the machine to itself: rows of others gain more."""
        if self._drafter is None or len(self.running) > 1:
            return ()
        if not (sequence.request.speculate and sequence.may_guess):
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
            while self.cells.num_free < wanted and self.cache.evict(batch):
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
        self.cache.cut(sequence.slot, 0, batch)
        self.finish(sequence, keep=False)
        sequence.num_computed_tokens = 0
        self._queue(sequence).appendleft(sequence)
