"""The one seam between front ends and the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from localchat.events import Event
from localchat.types import EngineInfo, GenerationRequest


class EngineClient(Protocol):
    """`submit` and `cancel` may be called from another thread than the one in `events`."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def is_gone(self) -> bool:
        """Whether the engine has left, as far as can be seen without waiting; between requests."""

    def submit(self, request: GenerationRequest) -> None:
        """Hands a request to the engine."""

    def cancel(self, request_id: str) -> None:
        """Asks the engine to end a request; its last event still comes."""

    def events(self) -> Iterator[Event]:
        """Events of all requests as they happen, until each has had its last one.

        Raises EngineDied if the engine goes away before that.
        """

    def close(self) -> None:
        """Leaves the engine; requests that still run are cancelled."""
