"""What these tests share: a script in place of the engine, and words for what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localchat.client.scripted import ScriptedClient
from localchat.errors import EngineDied
from localchat.events import Event, Failed, Finished, TextDelta
from localchat.session.options import Options
from localchat.session.session import Session, Turns
from localchat.store.records import StoredMessage
from localchat.types import ModelRef, SamplingParams

MODEL = ModelRef("small", "/small.gguf", sha256="ab")
GREEDY = Options(SamplingParams(temperature=0.0, seed=7))


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def session(client: ScriptedClient, turns: Turns | None, **options: Any) -> Session:
    return Session(client, turns, MODEL, options.pop("options", GREEDY), **options)


def say(session: Session, text: str) -> str:
    return text_of(session.send(text))


def text_of(events: Iterator[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def said(path: list[StoredMessage]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in path]


def failed(kind: str = "ContextOverflow") -> Failed:
    return Failed("", kind, "It is too long.")


class Dying(ScriptedClient):
    """Its engine dies after the script's events."""

    def events(self) -> Iterator[Event]:
        for event in super().events():
            if isinstance(event, Finished):
                raise EngineDied("The engine ended without a word.")
            yield event
