"""What one step does, as values: edits of the memory, in order, then chunks as one batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.engine.sequence import Sequence
from localchat.errors import LocalchatError

State = bytes | bytearray | memoryview
"""A sequence's memory as llama.cpp writes it down."""


class Aborted(Exception):
    """A batch was stopped on request before it was done."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` tokens of a sequence, from position `start`, then guesses of what may follow.

    If it `is_last`, a token is sampled after it, and one more after each guess that was right.
    """

    sequence: Sequence
    slot: int
    start: int
    count: int
    is_last: bool
    draft: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def num_rows(self) -> int:
        return self.count + len(self.draft)


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


@dataclass(frozen=True, slots=True)
class Restore:
    """The empty slot gets a saved state, which holds `tokens`."""

    slot: int
    tokens: list[int]
    state: State


@dataclass(frozen=True, slots=True)
class Save:
    """The slot's memory, which holds `tokens`, is to be kept on disk: it is about to be emptied."""

    slot: int
    tokens: list[int]
    conversation: str | None
    """Whose it is: it takes the place of what that left when it was shorter."""


Edit = Cut | Copy | Restore | Save


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token's log-probability, and the likeliest tokens with theirs."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What came out of a chunk: the tokens sampled after it, or scores of a text's tokens."""

    tokens: tuple[int, ...] = ()
    scores: tuple[TokenScore, ...] = ()
    """One a token, where the request wants logprobs; all there is for a text to score: one for
    each of `targets_after` its tokens."""
    error: LocalchatError | None = None
    """Why this sequence, and no other, can't go on."""


@dataclass(slots=True)
class ScheduledBatch:
    edits: list[Edit] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    num_tokens: int = 0
    """Rows of all chunks."""
