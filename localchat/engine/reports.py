"""What an engine's steps report: events for clients, and what whoever runs it has to do."""

from __future__ import annotations

from dataclasses import dataclass

from localchat.events import Event


@dataclass(frozen=True, slots=True)
class Summarised:
    """Part of a summary is there: whoever runs the engine must call `Engine.resume` with it.

    Templates are rendered in the main thread, and steps are not. Not an event for clients.
    """

    request_id: str


Report = Event | Summarised
