"""Requests to an engine and when their events came: what every benchmark of replies needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from localchat.client.base import EngineClient
from localchat.events import Event, Failed, Finished, TextDelta
from localchat.types import GenerationRequest


@dataclass(slots=True)
class Reply:
    """One request's events, in seconds of `time.perf_counter`."""

    submitted: float
    text: str = ""
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When text came, and the length of all text by then."""
    end: Finished | None = None
    ended: float = 0.0

    def take(self, event: Event, now: float) -> None:
        match event:
            case TextDelta(text=text):
                self.text += text
                self.arrivals.append((now, len(self.text)))
            case Finished():
                self.end, self.ended = event, now
            case Failed(message=message):
                sys.exit(f"Error: {message}")

    @property
    def finished(self) -> Finished:
        assert self.end is not None, "the reply has not ended"
        return self.end

    @property
    def num_tokens(self) -> int:
        return self.finished.usage.completion_tokens

    @property
    def first(self) -> float:
        """When the first text came; a first token that is no text shows only at the end."""
        return self.arrivals[0][0] if self.arrivals else self.ended

    @property
    def first_seconds(self) -> float:
        """From handing the request in to the first token."""
        return self.first - self.submitted

    @property
    def decode_speed(self) -> float:
        """Tokens per second from the first one to the last."""
        assert self.num_tokens > 1, "a single token takes no time of its own"
        return (self.num_tokens - 1) / (self.ended - self.first)

    def tokens_by(self, when: float) -> float:
        """Tokens that had come by then, as far as the length of the text tells."""
        length = max((length for arrived, length in self.arrivals if arrived <= when), default=0)
        return self.num_tokens * length / max(1, len(self.text))


def ask(client: EngineClient, request: GenerationRequest) -> Reply:
    return ask_all(client, [request])[0]


def ask_all(client: EngineClient, requests: Iterable[GenerationRequest]) -> list[Reply]:
    """Hands all requests in at once and reads their events to the end."""
    replies = {}
    for request in requests:
        replies[request.id] = Reply(time.perf_counter())
        client.submit(request)
    for event in client.events():
        replies[event.request_id].take(event, time.perf_counter())
    return list(replies.values())
