"""From flags and settings to a client of a running engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import offline_option
from localchat.client.base import EngineClient
from localchat.client.launcher import open_engine
from localchat.config import Settings
from localchat.errors import ModelNotFound
from localchat.paths import Paths
from localchat.session.loading import load_options
from localchat.types import LoadOptions, ModelRef

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Connection:
    """An engine, and what it was found by."""

    client: EngineClient
    model: ModelRef
    settings: Settings
    status: output.Status


def engine_options(command: _Command) -> _Command:
    """Adds the flags that choose an engine, for `connect`."""
    for decorate in (
        offline_option,
        click.option(
            "--draft",
            metavar="NAME",
            help="A smaller model of the same family that guesses tokens ahead.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            help="Compute threads, always; without it they follow what the machine has free.",
        ),
        click.option(
            "-m", "--model", metavar="NAME", help="A model's name, or the path of a .gguf file."
        ),
    ):
        command = decorate(command)
    return command


@contextmanager
def connect(
    model: str | None, threads: int | None, draft: str | None, *, offline: bool
) -> Iterator[Connection]:
    """Finds the model, finds or starts its engine, and leaves it at the end of the block."""
    places = paths.find()
    settings = config.load(places)
    settings = replace(
        settings,
        threads=threads if threads is not None else settings.threads,
        draft=draft or settings.draft,
        offline=offline or settings.offline,
    )
    found = find_model(model or settings.model, settings, places)
    options = load_options(settings, places)
    with output.Status(f"Loading {found.name} …") as status:
        client = open_engine(found, options, settings.keep_alive, places, status.show)
        with closing(client):
            status.clear()
            yield Connection(client, found, settings, status)


def opened_engine(
    model: ModelRef,
    options: LoadOptions,
    settings: Settings,
    places: Paths,
    say: Callable[[str], None],
) -> EngineClient:
    """A client of the model's engine, which is started if need be; the caller closes it."""
    return open_engine(model, options, settings.keep_alive, places, say)


def find_model(name: str, settings: Settings, places: Paths) -> ModelRef:
    """The model, installed. The default model is downloaded if it is missing; others are not."""
    from localchat.registry.resolve import resolve

    try:
        return resolve(name, places)
    except ModelNotFound:
        if name != settings.model or Path(name).suffix == ".gguf":
            raise
        from localchat.cli.pull import pull_with_progress

        return pull_with_progress(name, places, offline=settings.offline)
