"""What an engine says about a request, and in which order. The whole contract is this page.

A request yields, in order:

1. any number of `PrefillProgress`, one per step that worked on its prompt;
2. any number of `TextDelta`, whose texts joined are the completion;
3. exactly one last event: `Finished` or `Failed`.

A request with `render_only` yields exactly one `Rendered`, or `Failed`.
Events of different requests interleave; those of one request never reorder.
"""

from __future__ import annotations

from dataclasses import dataclass

from localchat.types import FinishReason, Timings, Usage


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the KV cache."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the completion: whole characters, never part of a stop string."""

    request_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The completion is over.

    `finish_reason` is "stop" (the model's own end, or a stop string), "length" (max_tokens or
    the context is used up) or "cancelled".
    """

    request_id: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The request came to nothing. `kind` names a class in `localchat.errors`."""

    request_id: str
    kind: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The exact prompt the model would see, and its length in tokens."""

    request_id: str
    prompt: str
    prompt_tokens: int


Event = PrefillProgress | TextDelta | Finished | Failed | Rendered
LAST_EVENTS = (Finished, Failed, Rendered)
