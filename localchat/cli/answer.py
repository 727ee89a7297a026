"""A request's events on their way to the terminal."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from localchat.cli import output
from localchat.client.base import EngineClient
from localchat.errors import from_kind
from localchat.events import (
    Event,
    Failed,
    Finished,
    PrefillProgress,
    ReasoningDelta,
    Rendered,
    Scored,
    TextDelta,
    TokenLogprobs,
    Trimmed,
)

_LONG_PROMPT = 512  # tokens; from here on prefill takes long enough to be shown


@dataclass(slots=True)
class Completion:
    """One completion as it came."""

    text: str = ""
    reasoning: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    completions: list[Completion]
    finished: Finished


def receive(
    events: Generator[Event, None, None], status: output.Status, *, live: bool, show_reasoning: bool
) -> Answer:
    """The whole answer; the text is shown as it comes if `live`, and the reasoning on its side.

    `events` end with it; they are closed whatever happens.
    """
    with closing(events):
        return _receive(events, status, live=live, show_reasoning=show_reasoning)


def _receive(
    events: Generator[Event, None, None], status: output.Status, *, live: bool, show_reasoning: bool
) -> Answer:
    completions: list[Completion] = []
    reasoning = output.Reasoning(is_shown=show_reasoning)
    for event in events:
        match event:
            case Trimmed(dropped=dropped, summary=summary):
                status.clear()
                output.note(_trimmed(len(dropped), summary))
            case TextDelta(text=text, choice=choice):
                status.clear()
                _nth(completions, choice).text += text
                if live:
                    reasoning.end()
                    output.write(text)
            case ReasoningDelta(text=text, choice=choice):
                status.clear()
                _nth(completions, choice).reasoning += text
                reasoning.write(text)
            case TokenLogprobs(text=text, logprob=logprob, top=top, choice=choice):
                alternatives = [{"token": other, "logprob": value} for other, value in top]
                _nth(completions, choice).logprobs.append(
                    {"token": text, "logprob": logprob, "top": alternatives}
                )
            case PrefillProgress():
                show_progress(event, status)
            case Failed(kind=kind, message=message, hint=hint):
                raise from_kind(kind, message, hint)
            case Finished():
                reasoning.end()
                _nth(completions, max(1, len(event.choices)) - 1)
                return Answer(completions, event)
    raise AssertionError("a request ends with Finished or Failed")


def _trimmed(count: int, summary: str | None) -> str:
    messages = "its oldest message" if count == 1 else f"its {count} oldest messages"
    was = "is" if count == 1 else "are"
    how = "left out" if summary is None else "summarised"
    return f"Note: the conversation is longer than the context; {messages} {was} {how}."


def receive_last(client: EngineClient, status: output.Status) -> Rendered | Scored:
    """The answer to a request that generates no text."""
    for event in client.events():
        match event:
            case Rendered() | Scored():
                return event
            case PrefillProgress():
                show_progress(event, status)
            case Failed(kind=kind, message=message, hint=hint):
                raise from_kind(kind, message, hint)
    raise AssertionError("such a request ends with Rendered, Scored or Failed")


def show_progress(event: PrefillProgress, status: output.Status) -> None:
    if event.done < event.total and event.total > _LONG_PROMPT:
        status.show(
            f"Reading the prompt: {100 * event.done // event.total}% of {event.total:,} tokens"
        )


def _nth(completions: list[Completion], choice: int) -> Completion:
    while len(completions) <= choice:
        completions.append(Completion())
    return completions[choice]
