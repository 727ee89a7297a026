"""Guesses the tokens that come next, for several to be verified in one batch.

A guess costs a row, and saves a step if it is right. Whether that pays depends on the machine, so
the price of a row is measured, and guessing stops by itself where too few turn out right.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from localchat.engine.sequence import Sequence

_NGRAM = 3  # tokens that must have come before for what followed them to be guessed

_FIRST, _MOST = 4, 16  # guesses at once: to begin with, and when all have been right so far

# Weight of the newest step in the measured part of right guesses, and where it begins.
_NEWEST, _HOPE = 0.2, 0.7

# Tokens without guesses after they did not pay; twice as many each time, up to the second.
_REST, _MOST_REST = 16, 256


class Source(Protocol):
    """Where guesses come from."""

    def guess(self, sequence: Sequence, most: int) -> list[int]:
        """At most `most` tokens that may follow the sequence."""


class NgramLookup:
    """Repeats what followed the last few tokens when they came before.

    In a task that copies from its prompt, the whole text is found there. No second model is needed.
    """

    def __init__(self) -> None:
        self._indexes: weakref.WeakKeyDictionary[Sequence, _Index] = weakref.WeakKeyDictionary()

    def guess(self, sequence: Sequence, most: int) -> list[int]:
        index = self._indexes.get(sequence)
        if index is None:
            index = self._indexes[sequence] = _Index()
        return index.guess(sequence.tokens, most)


@dataclass(slots=True)
class _Index:
    """Where each n-gram of a text was last seen."""

    following: dict[tuple[int, ...], int] = field(default_factory=dict)
    num_indexed: int = 0

    def guess(self, tokens: list[int], most: int) -> list[int]:
        # The n-gram at the very end is not indexed yet: it would find itself.
        for end in range(max(_NGRAM, self.num_indexed + 1), len(tokens)):
            self.following[tuple(tokens[end - _NGRAM : end])] = end
        self.num_indexed = len(tokens) - 1
        start = self.following.get(tuple(tokens[-_NGRAM:]))
        return tokens[start : start + most] if start is not None else []


@dataclass(slots=True)
class _Record:
    """How guessing went for one sequence."""

    length: int = _FIRST
    right: float = _HOPE
    """The part of guessed tokens that were right, lately."""
    rest: int = _REST
    not_before: int = 0
    """Length of the sequence from which guesses are made again."""
    num_tokens: int = 0
    """Length of the sequence when the last guesses were made."""
    num_guessed: int = 0


class Speculation:
    """Decides how much to guess. `row_cost`: what one more row adds to a step, in single steps."""

    def __init__(self, source: Source, row_cost: Callable[[], float]) -> None:
        self._source = source
        self._row_cost = row_cost
        self._records: weakref.WeakKeyDictionary[Sequence, _Record] = weakref.WeakKeyDictionary()

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]:
        """Guesses of what follows the sequence, `most` at most; often none."""
        record = self._records.get(sequence)
        if record is None:
            record = self._records[sequence] = _Record()
        length = len(sequence.tokens)
        if record.num_guessed and length > record.num_tokens:  # else the step was aborted
            self._learn(record, length)
        record.num_guessed = 0
        limit = sequence.request.params.max_tokens
        if limit is not None:
            most = min(most, limit - sequence.num_completion_tokens - 1)
        most = min(most, record.length)
        if most < 1 or length < record.not_before:
            return ()
        guesses = tuple(self._source.guess(sequence, most))
        record.num_tokens, record.num_guessed = length, len(guesses)
        return guesses

    def _learn(self, record: _Record, length: int) -> None:
        """Books how many of the last guesses were right: one token came by itself."""
        num_right = max(0, length - record.num_tokens - 1)
        part = num_right / record.num_guessed
        record.right += _NEWEST * (part - record.right)
        if num_right == record.num_guessed:
            record.length = min(2 * record.length, _MOST)
        else:
            record.length = max(2, record.length // 2)
        if record.right > _HOPE:
            record.rest = _REST
        if record.right >= self._row_cost():
            return
        record.not_before = length + record.rest
        record.rest = min(2 * record.rest, _MOST_REST)
        record.length, record.right = 2, _HOPE
