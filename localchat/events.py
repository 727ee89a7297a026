"""What an engine says about a request, and in which order. The whole contract is this page.

A request yields, in order:

1. at most one `Trimmed`, if its conversation was too long and the caller lets it be shortened;
2. any number of `PrefillProgress`, one per step that worked on its prompt;
3. any number of `ReasoningDelta` and `TextDelta`: the texts of either kind, joined, are what the
   model thought and what it answered; with `logprobs`, one `TokenLogprobs` for each token,
   before its text;
4. exactly one last event: `Finished` or `Failed`.

With `n` completions, `choice` (from 0) tells whose a delta is; there is one last event for all.
A request with `render_only` yields exactly one `Rendered`, or `Failed`; one with `continuations`
`PrefillProgress`, then `Scored` or `Failed`.
Events of different requests interleave; those of one request never reorder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.types import Choice, FinishReason, Score, Timings, Usage


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The conversation was too long: these messages (indexes in the request) are not in the prompt.

    `summary` stands in their place, if the request asked for one. The system prompt is never
    among them.
    """

    request_id: str
    dropped: tuple[int, ...]
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the KV cache."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of what the model thinks before it answers; its markers are left out."""

    request_id: str
    text: str
    choice: int = 0
    tokens: int = field(default=0, compare=False)
    """Completion tokens since the choice's last delta of either kind."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the completion: whole characters, never part of a stop string."""

    request_id: str
    text: str
    choice: int = 0
    tokens: int = field(default=0, compare=False)
    """Completion tokens since the choice's last delta of either kind."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One sampled token: natural logarithms of the model's probabilities, before any sampler step.

    `text` and the texts of `top` (likeliest first, with their logprobs) may be part of a character,
    which is then U+FFFD.
    """

    request_id: str
    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The completion is over.

    `finish_reason` is "stop" (the model's own end, or a stop string), "length" (max_tokens or
    the context is used up) or "cancelled". It and `seed` are those of the first completion;
    `choices` has each one's where there are several. A completion that was to match a schema or a
    grammar does so if it ended with "stop".
    """

    request_id: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a request's continuations, in their order."""

    request_id: str
    scores: tuple[Score, ...]
    usage: Usage
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """The request came to nothing. `kind` names a class in `localchat.errors`."""

    request_id: str
    kind: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The exact prompt the model would see, and its length in tokens.

    Also of a request that would be refused because it is too long.
    """

    request_id: str
    prompt: str
    prompt_tokens: int
    message_tokens: tuple[int, ...] = ()
    """Of each message of the request, and of its partial reply: what its text takes in a prompt.
    The rest is the template's."""
    dropped: tuple[int, ...] = ()
    """Messages (indexes in the request) that would be left out; a summary is not made for this."""
    said: tuple[tuple[int, int], ...] = ()
    """Where in `prompt` the texts of messages stand (from, to); none if that can't be told. The
    rest is the template's, and only there control tokens are more than text."""


Event = (
    Trimmed
    | PrefillProgress
    | ReasoningDelta
    | TextDelta
    | TokenLogprobs
    | Finished
    | Scored
    | Failed
    | Rendered
)
LAST_EVENTS = (Finished, Scored, Failed, Rendered)
