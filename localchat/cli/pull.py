"""`localchat pull`: downloads a model once, and verifies it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import offline_option
from localchat.paths import Paths
from localchat.types import ModelRef

_STEP = 10  # percent between two lines where a bar can't be drawn


@click.command("pull")
@click.argument("name")
@offline_option
def command(name: str, offline: bool) -> None:
    """Download the model NAME and verify it. Nothing is done if it is there and intact."""
    places = paths.find()
    offline = offline or config.load(places).offline
    model = pull_with_progress(name, places, offline=offline)
    output.line(model.path)


def pull_with_progress(name: str, places: Paths, *, offline: bool) -> ModelRef:
    """Pulls a model, showing a bar on a terminal and plain lines elsewhere, on stderr."""
    from localchat.registry.resolve import pull

    show = _bar if sys.stderr is not None and sys.stderr.isatty() else _lines
    with show(f"Downloading {name}") as progress:
        return pull(name, places, offline=offline, progress=progress)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
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
def _lines(title: str) -> Iterator[Callable[[int, int], None]]:
    shown = -_STEP

    def report(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total if total else 0
        if percent >= shown + _STEP:
            shown = percent - percent % _STEP
            output.note(f"{title}: {percent}% of {total / 1e6:.0f} MB")

    yield report
