"""`localchat pull`: downloads a model once, and verifies it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import offline_option
from localchat.paths import Paths
from localchat.types import ModelRef

_STEP = 10  # percent between two lines where a bar can't be drawn
_INTERVAL = 0.25  # seconds between two events of --json

Progress = Callable[[int, int], None]


@click.command("pull")
@click.argument("name")
@offline_option
@click.option("--json", "as_json", is_flag=True, help="Print progress and result as JSON lines.")
def command(name: str, offline: bool, as_json: bool) -> None:
    """Download the model NAME and verify it. Nothing is done if it is there and intact."""
    places = paths.find()
    offline = offline or config.load(places).offline
    if not as_json:
        output.line(pull_with_progress(name, places, offline=offline).path)
        return
    from localchat.registry.resolve import pull

    model = pull(name, places, offline=offline, progress=events())
    output.json_line(
        {"event": "done", "name": model.name, "path": model.path, "sha256": model.sha256}
    )


def pull_with_progress(name: str, places: Paths, *, offline: bool) -> ModelRef:
    """Pulls a model, showing a bar on a terminal and plain lines elsewhere, on stderr."""
    from localchat.registry.resolve import pull

    show = _bar if sys.stderr is not None and sys.stderr.isatty() else _lines
    with show(f"Downloading {name}") as progress:
        return pull(name, places, offline=offline, progress=progress)


def events() -> Progress:
    """Prints what it is told, a JSON object a line, not more often than anyone could read."""
    last, shown = -_INTERVAL, -1

    def report(done: int, total: int) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if done != shown and (now - last >= _INTERVAL or done == total):
            last, shown = now, done
            output.json_line({"event": "progress", "done": done, "total": total})
            output.finish()

    return report


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
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
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _lines(title: str) -> Iterator[Progress]:
    shown = -_STEP

    def report(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total if total else 0
        if percent >= shown + _STEP:
            shown = percent - percent % _STEP
            output.note(f"{title}: {percent}% of {total / 1e6:.0f} MB")

    yield report
