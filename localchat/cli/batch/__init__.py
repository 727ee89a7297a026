"""`localchat batch`: many prompts out of a file. What is no command of its own is a run."""

from __future__ import annotations

from pathlib import Path

import click

from localchat.cli.lazy import LazyGroup
from localchat.errors import UsageError
from localchat.presets.preset import perhaps

_HELP = "localchat batch --help"
_DEFAULT = "run"
_COMMANDS = (_DEFAULT, "status")


class _Batch(LazyGroup):
    """An input in the place of a command is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*_COMMANDS, "--help", "-h"):
            _refuse_misspelt(args[0])
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


def _refuse_misspelt(name: str) -> None:
    """Raises UsageError for what is neither an input nor a command, but nearly one."""
    meant = perhaps(name, _COMMANDS)
    if meant and not Path(name).exists():
        raise UsageError(f"There is no input and no command {name!r}{meant}.", _HELP)


@click.group(
    "batch", cls=_Batch, modules={name: f"localchat.cli.batch.{name}" for name in _COMMANDS}
)
def command() -> None:
    """Answer a file of prompts, row by row: localchat batch IN -o OUT.

    After a crash or Ctrl-C the same command goes on where it stopped. Its flags:
    localchat batch run --help
    """
