"""A history whose ids and times are known, and commands run on it in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from localchat.cli import main
from localchat.paths import Paths
from localchat.store.records import (
    Generation,
    NewConversation,
    NewMessage,
    Provenance,
    Trim,
)
from localchat.store.store import Store

MODEL = Provenance("tiny", params={"temperature": 0.5})
NOON = 1_700_049_600.0  # of 2023-11-15, UTC
SKY, OLD = "5eaf" + "0" * 12, "01d0" + "0" * 12


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Runner(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


Add = Callable[..., list[str | None]]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def history(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Runner:
    """Runs `localchat history ...` in this process, without a terminal."""
    monkeypatch.setattr("sys.stdin", None)

    def run(*arguments: str) -> Done:
        code = main.run(["history", *arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def add(places: Paths) -> Add:
    def added(*conversations: NewConversation) -> list[str | None]:
        with Store.open(places) as store:
            return store.add(conversations)

    return added


def sky() -> NewConversation:
    """With a system prompt, an edited question, two replies and a context that was too small.

    1 Be brief.
    2   Why is the sky blue?
    3     Scattering.              6 (failed)
    4       And at night?          5 And at dusk? -> 7 Red … (incomplete, the current leaf)
    """
    messages = (
        NewMessage("system", "Be brief.", created=NOON),
        NewMessage("user", "Why is the sky blue?", 0, created=NOON),
        NewMessage(
            "assistant",
            "Scattering.",
            1,
            "Hm.\nLight.",
            NOON,
            generations=(Generation(MODEL, finish_reason="stop", seed=7),),
        ),
        NewMessage("user", "And at night?", 2, created=NOON),
        NewMessage("user", "And at dusk?", 2, created=NOON),
        NewMessage(
            "assistant",
            "",
            1,
            created=NOON,
            state="failed",
            generations=(Generation(MODEL, error="The engine failed."),),
        ),
        NewMessage(
            "assistant",
            "Red\nlight\n",
            4,
            created=NOON,
            state="incomplete",
            generations=(Generation(MODEL, trim=Trim((1, 2), "They spoke of the sky.")),),
        ),
    )
    return NewConversation(messages, SKY, None, False, NOON, NOON, 6, {"model": "tiny"})


def old() -> NewConversation:
    said = (NewMessage("user", "An old question"), NewMessage("assistant", "Yes.", 0))
    return NewConversation(said, OLD, created=NOON - 40 * 86_400)


@pytest.fixture
def filled(add: Add) -> None:
    add(sky(), old())
