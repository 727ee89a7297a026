"""`localchat batch`: many prompts out of a file. What is no command of its own is a run."""

from __future__ import annotations

import click

from localchat.cli.lazy import LazyGroup

_DEFAULT = "run"
_COMMANDS = (_DEFAULT, "status")


class _Batch(LazyGroup):
    """An input in the place of a command is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*_COMMANDS, "--help", "-h"):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(
    "batch", cls=_Batch, modules={name: f"localchat.cli.batch.{name}" for name in _COMMANDS}
)
def command() -> None:
    """Answer a file of prompts, row by row: localchat batch IN -o OUT.

    After a crash or Ctrl-C the same command goes on where it stopped. Its flags:
    localchat batch run --help
    """
