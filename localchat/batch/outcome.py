"""What came of a row: its answers, or why there are none."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from localchat.types import FinishReason, Usage

NOTHING = Usage(0, 0, 0)


class Completion(NamedTuple):
    """One answer to a row."""

    text: str
    finish_reason: FinishReason = "stop"
    reasoning: str = ""
    seed: int | None = None
    logprobs: list[Any] | None = None
    """As OpenAI's `logprobs.content` has them."""


class RowError(NamedTuple):
    """Why a row has no answer."""

    code: str
    """A class in `localchat.errors`, or UnusableRow, DuplicateId, WrongForm, KilledEngine."""
    message: str


class Outcome(NamedTuple):
    completions: tuple[Completion, ...] = ()
    usage: Usage = NOTHING
    error: RowError | None = None
    scores: tuple[tuple[str, float], ...] = ()
    """(Choice, its probability among the choices), in the order they were asked."""
    created: int = 0
    """Seconds since the epoch."""

    def to_json(self) -> str:
        used = self.usage
        values = (
            self.completions,
            (used.prompt_tokens, used.cached_tokens, used.completion_tokens),
            self.error,
            self.scores,
            self.created,
        )
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Outcome:
    """What `to_json` wrote."""
    completions, usage, error, scores, created = json.loads(text)
    return Outcome(
        tuple(Completion(*one) for one in completions),
        Usage(*usage),
        RowError(*error) if error else None,
        tuple((choice, probability) for choice, probability in scores),
        created,
    )
