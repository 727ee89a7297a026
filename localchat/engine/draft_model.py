"""A small model of the same family that guesses what the large one will say."""

from __future__ import annotations

import time
from collections.abc import Callable

from localchat.engine.sequence import Sequence
from localchat.engine.slots import common_prefix
from localchat.errors import ConfigError
from localchat.fit import DRAFT_BUDGET
from localchat.llama.batch import Batch
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.llama.vocabulary import Vocabulary
from localchat.types import SamplingParams

_NEWEST = 0.1  # weight of the newest step in the measured time of a guess


class DraftModel:
    """Guesses for one sequence at a time: what it holds in memory is the last one's tokens.

    `threads` tells how many compute threads a step of one row gets.
    """

    def __init__(
        self, path: str, vocabulary: Vocabulary, n_ctx: int, threads: Callable[[], int]
    ) -> None:
        """Raises ModelLoadFailed, OutOfSpace, or ConfigError if its vocabulary is another one."""
        self._weights = Model(path)
        if not _is_same(self._weights.vocabulary, vocabulary):
            self._weights.close()
            raise ConfigError(
                f"{path} can't draft for this model: it has another vocabulary.",
                "Take a smaller model of the same family.",
            )
        self._context = Context(
            self._weights, n_ctx=n_ctx, n_batch=DRAFT_BUDGET, n_sequences=1, n_threads=threads()
        )
        self._threads = threads
        self._batch = Batch(DRAFT_BUDGET)
        self._sampler = Sampler(SamplingParams(temperature=0.0), self._weights.vocabulary, 0)
        self._held: list[int] = []
        self.seconds = 0.0
        """How long one guess takes, lately."""

    def guess(self, sequence: Sequence, most: int) -> list[int]:
        """At most `most` tokens; none while it is still reading a long prompt."""
        tokens = sequence.tokens
        if len(tokens) + most > self._context.n_ctx:
            return []
        self._forget(min(common_prefix(self._held, tokens), len(tokens) - 1))
        self._context.set_threads(self._threads())
        missing = tokens[len(self._held) : len(self._held) + DRAFT_BUDGET]
        self._read(missing)
        if len(self._held) < len(tokens):
            return []
        guesses: list[int] = []
        row = len(missing) - 1
        while True:
            token = self._sampler.sample(self._context, row)
            guesses.append(token)
            if len(guesses) == most or self._weights.vocabulary.is_end(token):
                return guesses
            start = time.monotonic()
            self._read([token])
            seconds = time.monotonic() - start
            self.seconds += (seconds - self.seconds) * (_NEWEST if self.seconds else 1.0)
            row = 0

    def _read(self, tokens: list[int]) -> None:
        self._batch.clear()
        for position, token in enumerate(tokens, len(self._held)):
            is_last = position == len(self._held) + len(tokens) - 1
            self._batch.add(token, position, 0, is_last)
        self._context.decode(self._batch)  # nobody aborts this context
        self._held += tokens

    def _forget(self, count: int) -> None:
        if count < len(self._held):
            if count == 0 or not self._context.memory.cut(0, count):
                self._context.memory.clear(0)
                count = 0
            del self._held[count:]


def _is_same(left: Vocabulary, right: Vocabulary) -> bool:
    return left.size == right.size and all(
        left.text(token) == right.text(token) for token in range(left.size)
    )
