"""An engine in this very process: what is left when its process boundary is taken away."""

from __future__ import annotations

import os
from collections.abc import Iterator

from common import Setup

from localchat import __version__
from localchat.engine.load import load
from localchat.events import LAST_EVENTS, Event
from localchat.types import EngineInfo, GenerationRequest, LoadOptions


class InsideClient:
    """See `localchat.client.base.EngineClient`. `events` steps the engine."""

    def __init__(self, setup: Setup) -> None:
        loaded = load(setup.model, LoadOptions(threads=setup.threads), lambda line: None)
        self._engine = loaded.engine
        self._running: set[str] = set()
        self._info = EngineInfo(
            __version__,
            os.getpid(),
            setup.model.name,
            loaded.engine.context,
            loaded.has_chat_template,
            loaded.load_seconds,
        )
        self.num_steps = 0

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def is_gone(self) -> bool:
        return False

    def submit(self, request: GenerationRequest) -> None:
        self._engine.submit(request)
        self._running.add(request.id)

    def cancel(self, request_id: str) -> None:
        self._engine.cancel(request_id)

    def events(self) -> Iterator[Event]:
        while self._running:
            reports = self._engine.step()
            self.num_steps += 1
            for event in reports:
                assert isinstance(event, Event), "no request here asks for a summary"
                if isinstance(event, LAST_EVENTS):
                    self._running.discard(event.request_id)
                yield event

    def close(self) -> None:
        self._engine.close(0)
