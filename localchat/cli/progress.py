"""How a transfer is shown: a bar on a terminal, lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from localchat.cli import output
from localchat.sanitize import clean

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_STEP = 10  # percent between two lines where a bar can't be drawn
_INTERVAL = 0.25  # seconds between two events of --json, and between two drawings


class Watcher(Protocol):
    """What is shown to: the registry's `Watcher`."""

    def progress(self, done: int, total: int) -> None: ...
    def note(self, text: str) -> None: ...


class Events:
    """Prints what it is told, a JSON object a line, not more often than anyone could read."""

    def __init__(self) -> None:
        self._last = -_INTERVAL
        self._shown = -1

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done != self._shown and (now - self._last >= _INTERVAL or done == total):
            self._last, self._shown = now, done
            output.json_line({"event": "progress", "done": done, "total": total})
            output.finish()

    def note(self, text: str) -> None:
        output.json_line({"event": "note", "text": text})
        output.finish()


class Silent:
    """Shows only what is out of the ordinary."""

    def progress(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        output.note(text)


class Lines:
    """A line on stderr for every tenth part."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._percent = -_STEP

    def progress(self, done: int, total: int) -> None:
        percent = 100 * done // total if total else 0
        if percent >= self._percent + _STEP:
            self._percent = percent - percent % _STEP
            output.note(f"{self._title}: {percent}% of {total / 1e6:,.0f} MB")

    def note(self, text: str) -> None:
        output.note(text)


class Bar:
    """A bar on a terminal's stderr, with rate and time left."""

    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._next = 0.0

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next or done == total:  # a fast source tells it ten thousand times a second
            self._next = now + _INTERVAL / 4
            self._bar.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def shown(title: str, *, lines: bool = True) -> Iterator[Watcher]:
    """A bar on a terminal; elsewhere lines, or nothing for what does not take long. On stderr."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield Lines(title) if lines else Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Bar(bar, bar.add_task(clean(title), total=None))
