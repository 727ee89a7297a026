"""A client that follows a script in place of a model: for tests of whatever stands on a client."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from localchat import __version__
from localchat.events import LAST_EVENTS, Event, Failed, Finished, Rendered, Scored, TextDelta
from localchat.types import EngineInfo, GenerationRequest, Timings, Usage

Answer = Sequence[str | Event] | Finished | Scored | Failed | Rendered


class ScriptedClient:
    """Gives the `answers` to requests in turn: pieces of text and events, or one last event.

    A piece of text becomes a `TextDelta` of one token; events get their request's id. An answer
    without a last event ends with a plain `Finished`. The requests it got are in `requests`.
    """

    def __init__(self, *answers: Answer, has_chat_template: bool = True) -> None:
        self.info = EngineInfo(
            version=__version__,
            pid=os.getpid(),
            model="scripted",
            context=8192,
            has_chat_template=has_chat_template,
            load_seconds=0.0,
        )
        self.requests: list[GenerationRequest] = []
        self.is_closed = False
        self._answers = deque(answers)
        self._queue: deque[Event] = deque()

    @property
    def is_gone(self) -> bool:
        return self.is_closed

    def submit(self, request: GenerationRequest) -> None:
        self.requests.append(request)
        answer = self._answers.popleft()
        pieces = [answer] if isinstance(answer, LAST_EVENTS) else list(answer)
        if not pieces or not isinstance(pieces[-1], LAST_EVENTS):
            pieces.append(self._finished(request, len(pieces)))
        for piece in pieces:
            event = TextDelta("", piece, tokens=1) if isinstance(piece, str) else piece
            self._queue.append(replace(event, request_id=request.id))

    def cancel(self, request_id: str) -> None:
        mine = [event for event in self._queue if event.request_id == request_id]
        self._queue = deque(event for event in self._queue if event not in mine)
        for event in mine:
            if isinstance(event, Finished):
                self._queue.append(
                    Finished(request_id, "cancelled", event.usage, event.timings, event.seed)
                )

    def events(self) -> Iterator[Event]:
        while self._queue:
            yield self._queue.popleft()

    def close(self) -> None:
        self.is_closed = True

    def _finished(self, request: GenerationRequest, pieces: int) -> Finished:
        usage = Usage(prompt_tokens=1, cached_tokens=0, completion_tokens=pieces)
        return Finished(request.id, "stop", usage, Timings(0.0, 0.0, 0.0), request.params.seed or 0)
