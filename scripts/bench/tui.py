"""How fast is the chat screen, and what does it cost? See README.md beside this file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import Report, Setup, alternate, parser, prepare
from on_terminal import OnTerminal, started
from paced_screen import TEXTS
from textual.app import App, ComposeResult

from localchat.store.records import NewConversation, NewMessage, StoredMessage
from localchat.store.store import Store
from localchat.tui.widgets.transcript.transcript import Transcript

_FRAME_GOAL = 1.3  # times an empty Textual app's
_CORE_GOAL = 30.0  # % of one core
_KEY_GOAL = 30.0  # ms, 95% of the keys
_SWITCH_GOAL = 100.0  # ms
_MESSAGES = 500
_QUESTION, _ANSWER = 150, 1_500  # characters
_TURNS = 200  # of the wheel
_WHEEL_UP = b"\x1b[<64;60;10M"
_KEY_EVERY = 0.15  # seconds
_EMPTY_APP = "from textual.app import App; App().run()"


def main() -> None:
    arguments = parser("the chat screen, on a pseudo-terminal", rounds=10).parse_args()
    with prepare(arguments) as setup:
        report = Report("tui", setup)
        _compare_first_frames(setup, report)
        for kind in TEXTS:
            _stream(report, kind)
        _type_meanwhile(report)
        _scroll(setup, report)
        asyncio.run(_switch(setup, report))
        report.save()


def _compare_first_frames(setup: Setup, report: Report) -> None:
    localchat = str(Path(sys.executable).with_name("localchat"))

    def first_frame(*command: str) -> float:
        with started(list(command)) as screen:
            return 1000 * screen.first_frame()

    measures = {
        "first frame": lambda: first_frame(localchat, "chat"),
        "empty Textual app": lambda: first_frame(sys.executable, "-c", _EMPTY_APP),
    }
    values = alternate(setup.rounds, measures, "ms")
    medians = [report.add_rounds(name, values[name], "ms").median for name in values]
    ratio = medians[0] / medians[1]
    report.add_goal("ratio", ratio, f"at most {_FRAME_GOAL}", met=ratio <= _FRAME_GOAL)


def _stream(report: Report, kind: str) -> None:
    """What a reply costs, when nobody types."""
    with _asked(kind) as (screen, done):
        before, start = screen.processor_seconds, time.monotonic()
        screen.until(done.exists)
        _wait(screen, 0.5)
        share = 100 * (screen.processor_seconds - before) / (time.monotonic() - start)
        name = f"{kind}, % of a core"
        report.add_goal(name, share, f"below {_CORE_GOAL:g}", met=share < _CORE_GOAL)
        report.add_value(f"memory after it, {kind}", screen.resident, "MB")


def _type_meanwhile(report: Report) -> None:
    """How soon a key is on the screen while a reply comes."""
    # None of these is in the reply, and each is typed once.
    signs = [chr(code).encode() for code in range(0x410, 0x450)]
    seconds = []
    with _asked("mixed") as (screen, done):
        for sign in signs:
            seconds.append(screen.seen(sign, sign))
            _wait(screen, _KEY_EVERY)
        if done.exists():
            sys.exit("Error: the reply ended before the last key was typed.")
    _add_keys(report, "key to screen", seconds)


def _wait(screen: OnTerminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    screen.until(lambda: time.monotonic() >= end)


def _add_keys(report: Report, name: str, seconds: list[float]) -> None:
    values = sorted(1000 * each for each in seconds)
    report.add_rounds(f"{name}, each", values, "ms")
    worst = values[int(0.95 * len(values))]
    report.add_goal(f"{name}, p95, ms", worst, f"below {_KEY_GOAL:g}", met=worst < _KEY_GOAL)


def _scroll(setup: Setup, report: Report) -> None:
    """What a turn of the wheel costs in a long conversation, from its end upwards."""
    with Store.open(setup.paths) as store:
        (conversation,) = store.add([NewConversation(_messages())])
    assert conversation is not None
    with _screen("mixed", conversation) as (screen, _):
        report.add_value(f"memory, {_MESSAGES} messages", screen.resident, "MB")
        before = screen.processor_seconds
        seconds = []
        for _ in range(_TURNS):
            seconds.append(screen.seen(_WHEEL_UP))
            _wait(screen, 0.03)
        cost = 1000 * (screen.processor_seconds - before) / _TURNS
        report.add_value("a turn of the wheel", cost, "ms of processor time")
    _add_keys(report, "wheel to screen", seconds)


def _messages() -> tuple[NewMessage, ...]:
    return tuple(
        NewMessage(
            "assistant" if number % 2 else "user", _text(number), number - 1 if number else None
        )
        for number in range(_MESSAGES)
    )


def _text(number: int) -> str:
    """Of one message: a question, or an answer of some 370 tokens."""
    return TEXTS["mixed"][: _ANSWER if number % 2 else _QUESTION]


class _TranscriptOnly(App[None]):
    def compose(self) -> ComposeResult:
        yield Transcript()


async def _switch(setup: Setup, report: Report) -> None:
    """How long the widget takes to show another conversation, until it is drawn."""
    chats = [_stored(first) for first in (1, 10_001)]
    app = _TranscriptOnly()
    values = []
    async with app.run_test(size=(120, 40)) as pilot:
        transcript = app.query_one(Transcript)
        for number in range(setup.rounds + 1):
            start = time.perf_counter()
            transcript.show(chats[number % 2], {}, None)
            drawn = asyncio.Event()
            transcript.call_after_refresh(drawn.set)
            await drawn.wait()
            values.append(1000 * (time.perf_counter() - start))
            await pilot.pause()
    summary = report.add_rounds("another conversation", values[1:], "ms")
    met = summary.median < _SWITCH_GOAL
    report.add_goal("another conversation, ms", summary.median, f"below {_SWITCH_GOAL:g}", met=met)


def _stored(first: int) -> list[StoredMessage]:
    return [
        StoredMessage(
            id=first + number,
            conversation="",
            parent=first + number - 1 if number else None,
            role="assistant" if number % 2 else "user",
            content=_text(number),
            reasoning="",
            created=0.0,
            state="complete",
        )
        for number in range(_MESSAGES)
    ]


@contextlib.contextmanager
def _screen(kind: str, *conversation: str) -> Iterator[tuple[OnTerminal, Path]]:
    """The whole screen on a paced client, when it has come to rest."""
    with tempfile.TemporaryDirectory(prefix="localchat-bench-") as folder:
        done = Path(folder) / "done"
        script = str(Path(__file__).with_name("paced_screen.py"))
        with started([sys.executable, script, kind, str(done), *conversation]) as screen:
            screen.until_written(lambda written: b"ready" in written)
            _wait(screen, 1.0)
            yield screen, done


@contextlib.contextmanager
def _asked(kind: str) -> Iterator[tuple[OnTerminal, Path]]:
    """The same, at the beginning of a reply."""
    with _screen(kind) as (screen, done):
        screen.write(b"Go\r")
        screen.until_written(lambda written: b"generating" in written)
        yield screen, done


if __name__ == "__main__":
    main()
