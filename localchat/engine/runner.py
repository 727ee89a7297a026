"""Runs a scheduled batch on the real model: the only part of the engine that decodes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from localchat.engine.scheduled import (
    Aborted,
    Chunk,
    Copy,
    Cut,
    Edit,
    Output,
    Restore,
    Save,
    ScheduledBatch,
    State,
    TokenScore,
)
from localchat.engine.sequence import Sequence
from localchat.engine.threads import Governor
from localchat.errors import EngineFailed
from localchat.llama import state
from localchat.llama.batch import Batch
from localchat.llama.context import Context
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary


class ModelRunner:
    """One context, one reusable batch, one sampler per running sequence.

    `keep_state` gets the states of slots that are about to be emptied: their tokens, the state,
    the conversation it is of, if any.
    """

    def __init__(
        self,
        context: Context,
        vocabulary: Vocabulary,
        governor: Governor,
        *,
        token_budget: int,
        keep_state: Callable[[list[int], State, str | None], None] = lambda *_: None,
    ) -> None:
        self._context = context
        self._vocabulary = vocabulary
        self._governor = governor
        self._threads = 0
        self._keep_state = keep_state
        self._batch = Batch(token_budget)
        self._samplers: dict[Sequence, Sampler] = {}

    def run(self, scheduled: ScheduledBatch) -> list[Output]:
        """Computes the batch; returns what came out of each chunk.

        Afterwards a slot's memory holds exactly the tokens of its sequence that are computed.
        Raises Aborted (then `keep` says what is left of each sequence) or EngineFailed. All edits
        are made then too: they are booked.
        """
        failure: EngineFailed | None = None
        for edit in scheduled.edits:
            try:
                self._edit(edit)
            except EngineFailed as error:
                failure = error
        if failure:
            raise failure
        self._batch.clear()
        ends = [self._add(chunk) for chunk in scheduled.chunks]
        if not self._decode():
            raise Aborted
        return [self._output(chunk, end) for chunk, end in zip(scheduled.chunks, ends, strict=True)]

    def keep(self, slot: int, count: int) -> int:
        """Cuts the slot's memory back to `count` tokens; returns how many it holds then."""
        memory = self._context.memory
        held = memory.length(slot)
        if held == count or (held > count > 0 and memory.cut(slot, count)):
            return count
        memory.clear(slot)
        return 0

    def save(self, slot: int) -> State:
        """The state of the slot's memory; empty if it has none."""
        return state.save(self._context, slot)

    def abort(self) -> None:
        """Stops the batch in flight. Callable from any thread."""
        self._context.abort()

    def clear_abort(self) -> None:
        self._context.clear_abort()

    def constrain(self, sequence: Sequence, grammar: str) -> None:
        """From its next token on, the sequence's text must match the grammar."""
        self._sampler(sequence).constrain(grammar)

    def release(self, sequence: Sequence) -> None:
        """Frees the sampler of a sequence that has ended."""
        sampler = self._samplers.pop(sequence, None)
        if sampler is not None:
            sampler.close()

    def _decode(self) -> bool:
        rows = len(self._batch)
        threads = self._governor.choose(rows)
        if threads != self._threads:
            self._context.set_threads(threads)
            self._threads = threads
        start = time.monotonic()
        done = self._context.decode(self._batch)
        if done:
            self._governor.record(rows, threads, time.monotonic() - start)
        return done

    def _add(self, chunk: Chunk) -> int:
        """Adds the chunk's rows to the batch; returns the number of the last one before guesses."""
        batch, sequence = self._batch, chunk.sequence
        wanted = sequence.num_reusable_tokens if sequence.targets else chunk.end - 1
        if not chunk.is_last and not sequence.targets:
            wanted = chunk.end
        tokens = sequence.tokens
        for position in range(chunk.start, chunk.end):
            batch.add(tokens[position], position, chunk.slot, position >= wanted)
        end = len(batch) - 1
        for position, token in enumerate(chunk.draft, chunk.end):
            batch.add(token, position, chunk.slot, True)
        return end

    def _output(self, chunk: Chunk, end: int) -> Output:
        if not (chunk.is_last or chunk.sequence.targets):
            return Output()
        try:
            if chunk.sequence.targets:
                return Output(scores=self._score(chunk, end))
            return self._sample(chunk, end)
        except EngineFailed as error:
            return Output(error=error)

    def _sample(self, chunk: Chunk, row: int) -> Output:
        """The next token, and those after it as long as the guesses turn out right."""
        sequence = chunk.sequence
        sampler = self._sampler(sequence)
        tokens: list[int] = []
        scores: list[TokenScore] = []
        for guess in (*chunk.draft, None):
            token = sampler.sample(self._context, row + len(tokens))
            self._check(row + len(tokens), token)
            if sequence.request.params.logprobs is not None:
                top = sequence.request.params.logprobs
                scores.append(self._token_score(row + len(tokens), token, top))
            tokens.append(token)
            if token != guess or self._vocabulary.is_end(token):
                break
        if len(tokens) <= len(chunk.draft):
            self._context.memory.cut(chunk.slot, chunk.end + len(tokens) - 1)
        return Output(tuple(tokens), tuple(scores))

    def _score(self, chunk: Chunk, end: int) -> tuple[TokenScore, ...]:
        """Of the targets that follow the chunk's rows."""
        from localchat.llama.logits import LogProbs

        scores: list[TokenScore] = []
        for position in range(chunk.start, chunk.end):
            if targets := chunk.sequence.targets_after(position):
                row = end - (chunk.end - 1 - position)
                self._check(row, targets[0])
                logprobs = LogProbs.after(self._context, row)
                scores += (TokenScore(logprobs.of(target)) for target in targets)
        return tuple(scores)

    def _token_score(self, row: int, token: int, top: int) -> TokenScore:
        from localchat.llama.logits import LogProbs

        logprobs = LogProbs.after(self._context, row)
        return TokenScore(logprobs.of(token), logprobs.top(top))

    def _sampler(self, sequence: Sequence) -> Sampler:
        sampler = self._samplers.get(sequence)
        if sampler is None:
            sampler = Sampler(sequence.request.params, self._vocabulary, sequence.seed)
            prompt = sequence.tokens[: sequence.num_prompt_tokens]
            sampler.remember(prompt[len(prompt) - sequence.num_said_tokens :])
            self._samplers[sequence] = sampler
        return sampler

    def _check(self, row: int, token: int) -> None:
        if math.isnan(self._context.logit(row, token)):
            # llama.cpp reports success over damaged weights; the text would be nonsense.
            raise EngineFailed(
                "The model computed values that are not numbers: its file may be damaged.",
                "localchat pull --help",
            )

    def _edit(self, edit: Edit) -> None:
        memory = self._context.memory
        match edit:
            case Cut(slot, 0):
                memory.clear(slot)
            case Cut(slot, start):
                if not memory.cut(slot, start):
                    raise AssertionError("the slot table asked for a cut this memory can't make")
            case Copy(source, target, count):
                memory.copy(source, target, count)
            case Save(slot, tokens, conversation):
                self._keep_state(tokens, self.save(slot), conversation)
            case Restore(slot, tokens, saved):
                if not state.restore(self._context, slot, saved):
                    self._compute(slot, tokens)

    def _compute(self, slot: int, tokens: list[int]) -> None:
        """Prefills what a state was to bring back: llama.cpp did not take it.

        Whoever aborts meanwhile gets his way once it is done: a batch's edits are never half made.
        """
        start, was_aborted = 0, False
        while start < len(tokens):
            end = min(start + self._batch.capacity, len(tokens))
            self._batch.clear()
            for position in range(start, end):
                self._batch.add(tokens[position], position, slot, False)
            if self._context.decode(self._batch):
                start = end
                continue
            was_aborted = True
            self._context.clear_abort()
            self._context.memory.clear(slot)  # not every memory can be cut back to `start`
            start = 0
        if was_aborted:
            self._context.abort()
