"""Puts together what the engine says of one row."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from localchat.answer_form import AnswerForm, WrongForm
from localchat.batch.outcome import NOTHING, Completion, Outcome, RowError
from localchat.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    Scored,
    TextDelta,
    TokenLogprobs,
)
from localchat.types import Choice, Score, Usage


class Unfit(Exception):
    """The answer has not the form it has to have."""

    def __init__(self, reason: str, text: str, usage: Usage) -> None:
        super().__init__(reason)
        self.text = text
        self.usage = usage


class Answer:
    """Grows by the events of one request."""

    __slots__ = ("_before", "_logprobs", "_reasoning", "_text")

    def __init__(self, before: Usage = NOTHING) -> None:
        """`before`: what an earlier try has cost."""
        self._before = before
        self._text: dict[int, list[str]] = {}
        self._reasoning: dict[int, list[str]] = {}
        self._logprobs: dict[int, list[Any]] = {}

    def add(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text.setdefault(event.choice, []).append(event.text)
            case ReasoningDelta():
                self._reasoning.setdefault(event.choice, []).append(event.text)
            case TokenLogprobs():
                self._logprobs.setdefault(event.choice, []).append(
                    {
                        "token": event.text,
                        "logprob": event.logprob,
                        "top_logprobs": [
                            {"token": text, "logprob": value} for text, value in event.top
                        ],
                    }
                )

    def finished(self, end: Finished, form: AnswerForm | None) -> Outcome:
        """Raises Unfit for an answer that has not the `form`."""
        ends = end.choices or (Choice(end.finish_reason, end.usage.completion_tokens, end.seed),)
        completions = tuple(self._completion(number, one) for number, one in enumerate(ends))
        usage = self._usage(end.usage)
        if form is not None:
            for one in completions:
                try:
                    form.check(one.text)
                except WrongForm as error:
                    cut = " It was cut off." if one.finish_reason == "length" else ""
                    raise Unfit(f"{error}{cut}", one.text, usage) from error
        return Outcome(completions, usage, created=int(time.time()))

    def scored(self, end: Scored, choices: Sequence[str]) -> Outcome:
        """The likeliest choice as the answer."""
        scores = tuple(zip(choices, _probabilities(end.scores), strict=True))
        best = max(scores, key=lambda scored: scored[1])[0]
        usage = self._usage(end.usage)
        return Outcome((Completion(best),), usage, scores=scores, created=int(time.time()))

    def failed(self, end: Failed) -> Outcome:
        return failure(end.kind, end.message, self._before)

    def _completion(self, number: int, end: Choice) -> Completion:
        return Completion(
            "".join(self._text.get(number, ())),
            end.finish_reason,
            "".join(self._reasoning.get(number, ())),
            end.seed,
            self._logprobs.get(number),
        )

    def _usage(self, usage: Usage) -> Usage:
        before = self._before
        return Usage(
            before.prompt_tokens + usage.prompt_tokens,
            before.cached_tokens + usage.cached_tokens,
            before.completion_tokens + usage.completion_tokens,
        )


def failure(code: str, message: str, usage: Usage = NOTHING) -> Outcome:
    return Outcome((), usage, RowError(code, message), created=int(time.time()))


def _probabilities(scores: Sequence[Score]) -> list[float]:
    """Of each among them all, from the logarithms of their likelihoods."""
    highest = max(score.logprob for score in scores)
    weights = [math.exp(score.logprob - highest) for score in scores]
    return [weight / sum(weights) for weight in weights]
