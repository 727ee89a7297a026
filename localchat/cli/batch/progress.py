"""How a batch is shown while it runs: a bar on a terminal, lines in a pipe, JSON for programs."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from localchat.batch.run_of_rows import Tally
from localchat.cli import output
from localchat.sanitize import clean

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_SECONDS = 10.0  # between two lines in a pipe
_MOMENT = 0.25  # between two events of --json-progress, and two looks at the pace
_MEMORY = 60.0  # seconds that the pace is taken over


class Shown(Protocol):
    def update(self, tally: Tally, *, is_last: bool = False) -> None: ...
    def note(self, text: str) -> None: ...
    def doing(self, text: str) -> None:
        """What is waited for, while nothing else happens."""

    def begun(self) -> None:
        """Rows are with the engine; none has come back yet."""

    def end(self) -> None:
        """Nothing more is shown here; what is printed comes below."""


class Pace:
    """How fast it goes, of late."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, tally: Tally, now: float) -> None:
        if not self._marks:
            self._marks.append((tally.started, 0, 0))
        if now - self._marks[-1][0] >= _MOMENT:
            self._marks.append((now, tally.finished, tally.completion_tokens))
        while now - self._marks[0][0] > _MEMORY:
            self._marks.popleft()

    def rates(self, tally: Tally, now: float) -> tuple[float, float]:
        """(Rows, tokens) a second."""
        then, rows, tokens = self._marks[0]
        seconds = max(now - then, 1e-3)
        return (tally.finished - rows) / seconds, (tally.completion_tokens - tokens) / seconds

    def left(self, tally: Tally, now: float) -> float | None:
        """Seconds to the end; None if nobody can tell."""
        rows, _ = self.rates(tally, now)
        if tally.total is None or not rows:
            return None
        return max(0, tally.total - tally.done) / rows


def describe(tally: Tally, pace: Pace, now: float) -> str:
    """A line on how far it is."""
    if tally.known and not tally.finished:
        return "all of them finished before"
    rows, tokens = pace.rates(tally, now)
    parts = [f"{rows:,.1f} rows/s"]
    if tally.completion_tokens:  # of labels, none is generated
        parts.append(f"{tokens:,.0f} tokens/s")
    parts.append(f"{tally.failed:,} failed")
    left = pace.left(tally, now)
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def total(tally: Tally) -> str:
    if tally.total is None:
        return "?"
    return f"{tally.total:,}" if tally.is_exact else f"about {tally.total:,}"


def duration(seconds: float) -> str:
    """4 s, 3 min 20 s, 2 h 5 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Lines:
    """A line on stderr now and then."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._next = time.monotonic() + _SECONDS

    def update(self, tally: Tally, *, is_last: bool = False) -> None:
        now = time.monotonic()
        self._pace.mark(tally, now)
        if now >= self._next and not is_last:
            self._next = now + _SECONDS
            output.note(
                f"{tally.done:,} of {total(tally)} rows: {describe(tally, self._pace, now)}"
            )

    def note(self, text: str) -> None:
        output.note(text)

    def doing(self, text: str) -> None:
        output.note(text)

    def begun(self) -> None:
        pass

    def end(self) -> None:
        pass


class Events:
    """A JSON object a line, on stdout."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._next = 0.0

    def update(self, tally: Tally, *, is_last: bool = False) -> None:
        now = time.monotonic()
        self._pace.mark(tally, now)
        if now < self._next and not is_last:
            return
        self._next = now + _MOMENT
        rows, tokens = self._pace.rates(tally, now)
        left = self._pace.left(tally, now)
        self._print(
            "finished" if is_last else "progress",
            done=tally.done,
            total=tally.total,
            total_is_exact=tally.is_exact,
            failed=tally.failed + tally.known_failed,
            from_before=tally.known,
            cut=tally.cut,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            rows_per_second=round(rows, 2),
            tokens_per_second=round(tokens, 1),
            seconds_left=None if left is None else round(left, 1),
        )

    def note(self, text: str) -> None:
        self._print("note", text=text)

    def doing(self, text: str) -> None:
        self._print("doing", text=text)

    def begun(self) -> None:
        self._print("begun")

    def end(self) -> None:
        pass

    def _print(self, event: str, **values: Any) -> None:
        output.json_line({"event": event, **values})
        output.finish()


class Bar:
    """A bar on a terminal's stderr."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, done="", pace="")
        self._pace = Pace()
        self._next = 0.0

    def update(self, tally: Tally, *, is_last: bool = False) -> None:
        now = time.monotonic()
        self._pace.mark(tally, now)
        if now < self._next and not is_last:
            return
        self._next = now + _MOMENT
        self._bar.update(
            self._task,
            completed=tally.done,
            total=tally.total,
            done=f"{tally.done:,}/{total(tally)}",
            pace=describe(tally, self._pace, now),
        )

    def note(self, text: str) -> None:
        self._bar.console.print(clean(text), markup=False, highlight=False, soft_wrap=True)

    def doing(self, text: str) -> None:
        self._bar.update(self._task, pace=clean(text))

    def begun(self) -> None:
        self.doing("waiting for the first rows …")

    def end(self) -> None:
        self._bar.stop()


@contextmanager
def shown(*, as_json: bool) -> Iterator[Shown]:
    if as_json:
        yield Events()
        return
    if sys.stderr is None or not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.fields[done]}", markup=False),
        TextColumn("{task.fields[pace]}", markup=False, style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Bar(bar)
