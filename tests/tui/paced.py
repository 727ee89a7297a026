"""A client whose replies come when the test says so: a fake, to stop anywhere in the middle."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from dataclasses import replace

from localchat import __version__
from localchat.errors import EngineDied
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    PrefillProgress,
    ReasoningDelta,
    TextDelta,
)
from localchat.types import EngineInfo, GenerationRequest, Timings, Usage

_DEATH = object()


class PacedClient:
    """Follows `give`, `finish` and the like, which may be called before the request comes."""

    def __init__(self, context: int = 8192) -> None:
        self.info = EngineInfo(__version__, os.getpid(), "paced", context, True, 0.0)
        self.requests: list[GenerationRequest] = []
        self.is_gone = False
        self.is_closed = False
        self._queue: queue.Queue[object] = queue.Queue()
        self._tokens = 0

    # what the test says

    def prefill(self, done: int, total: int) -> None:
        self._queue.put(PrefillProgress("", done, total))

    def think(self, text: str, tokens: int = 4) -> None:
        self._queue.put(ReasoningDelta("", text, tokens=tokens))

    def give(self, text: str, tokens: int = 4) -> None:
        self._tokens += tokens
        self._queue.put(TextDelta("", text, tokens=tokens))

    def event(self, event: Event) -> None:
        self._queue.put(event)

    def finish(self, reason: str = "stop", prompt: int = 20) -> None:
        usage = Usage(prompt, 0, self._tokens)
        ended = Finished("", "stop", usage, Timings(0.0, 0.5, 2.0), 7)
        self._queue.put(replace(ended, finish_reason=reason))  # type: ignore[arg-type]
        self._tokens = 0

    def fail(self, message: str, hint: str | None = None, kind: str = "EngineFailed") -> None:
        self._queue.put(Failed("", kind, message, hint))

    def die(self) -> None:
        self._queue.put(_DEATH)

    # what the screen does

    def submit(self, request: GenerationRequest) -> None:
        self.requests.append(request)

    def cancel(self, request_id: str) -> None:
        if request_id == self.requests[-1].id:
            self.finish("cancelled")

    def events(self) -> Iterator[Event]:
        while True:
            item = self._queue.get()
            if item is _DEATH:
                self.is_gone = True
                raise EngineDied("The engine ended without a word.", "Try again.")
            event: Event = replace(item, request_id=self.requests[-1].id)  # type: ignore[type-var, assignment]
            yield event
            if isinstance(event, LAST_EVENTS):
                return

    def close(self) -> None:
        self.is_closed = True
