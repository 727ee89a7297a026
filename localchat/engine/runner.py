"""Runs a scheduled batch on the real model: the only part of the engine that decodes."""

from __future__ import annotations

import math

from localchat.engine.scheduler import Aborted, Copy, Cut, ScheduledBatch
from localchat.engine.sequence import Sequence
from localchat.errors import EngineFailed
from localchat.llama.batch import Batch
from localchat.llama.context import Context
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary


class ModelRunner:
    """One context, one reusable batch, one sampler per running sequence."""

    def __init__(self, context: Context, vocabulary: Vocabulary, *, token_budget: int) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._batch = Batch(token_budget)
        self._samplers: dict[Sequence, Sampler] = {}

    def run(self, scheduled: ScheduledBatch) -> list[int]:
        """Computes the batch and samples one token for each chunk that is its sequence's last.

        Raises Aborted (then `keep` says what is left of each sequence) or EngineFailed.
        """
        for edit in scheduled.edits:
            self._edit(edit)
        batch = self._batch
        batch.clear()
        sampled_rows: list[tuple[Sequence, int]] = []
        for chunk in scheduled.chunks:
            tokens = chunk.sequence.tokens
            last = chunk.start + chunk.count - 1
            for position in range(chunk.start, last + 1):
                wants_logits = chunk.is_last and position == last
                batch.add(tokens[position], position, chunk.slot, wants_logits)
            if chunk.is_last:
                sampled_rows.append((chunk.sequence, len(batch) - 1))
        if not self._context.decode(batch):
            raise Aborted
        return [self._sample(sequence, row) for sequence, row in sampled_rows]

    def keep(self, slot: int, count: int) -> int:
        """Cuts the slot's memory back to `count` tokens; returns how many it holds then."""
        memory = self._context.memory
        if memory.length(slot) == count or (count > 0 and memory.cut(slot, count)):
            return count
        memory.clear(slot)
        return 0

    def abort(self) -> None:
        """Stops the batch in flight. Callable from any thread."""
        self._context.abort()

    def clear_abort(self) -> None:
        self._context.clear_abort()

    def release(self, sequence: Sequence) -> None:
        """Frees the sampler of a sequence that has ended."""
        sampler = self._samplers.pop(sequence, None)
        if sampler is not None:
            sampler.close()

    def _edit(self, edit: Cut | Copy) -> None:
        memory = self._context.memory
        if isinstance(edit, Copy):
            memory.copy(edit.source, edit.target, edit.count)
        elif edit.start == 0:
            memory.clear(edit.slot)
        elif not memory.cut(edit.slot, edit.start):
            raise AssertionError("the slot table asked for a cut this memory can't make")

    def _sample(self, sequence: Sequence, row: int) -> int:
        sampler = self._samplers.get(sequence)
        if sampler is None:
            sampler = Sampler(sequence.request.params, self._vocabulary, sequence.seed)
            self._samplers[sequence] = sampler
        token = sampler.sample(self._context, row)
        if math.isnan(self._context.logit(row, token)):
            # llama.cpp reports success over damaged weights; the text would be nonsense.
            raise EngineFailed(
                "The model computed values that are not numbers: its file may be damaged.",
                "localchat pull --help",
            )
        return token
