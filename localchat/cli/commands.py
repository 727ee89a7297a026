"""The command tree. A command's module is imported when it is used, or for its line of help."""

from __future__ import annotations

import sys

import click

from localchat import __version__
from localchat.cli.lazy import LazyGroup

_COMMANDS = (
    "ask",
    "batch",
    "cache",
    "chat",
    "config",
    "doctor",
    "history",
    "models",
    "presets",
    "ps",
    "pull",
    "score",
    "stop",
)
_DEFAULT = "ask"
_GROUP_OPTIONS = ("--debug", "--help", "-h", "--version")


class _Commands(LazyGroup):
    """What is no command is a prompt for `ask`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        leading = 0
        while leading < len(args) and args[leading] in _GROUP_OPTIONS:
            leading += 1
        rest = args[leading:]
        if not args and _is_on_terminal():
            args = ["chat"]
        elif not args or (rest and rest[0] not in _COMMANDS):
            _refuse_mistyped_command(rest)
            args = [*args[:leading], _DEFAULT, *rest]
        return super().parse_args(ctx, args)


def _is_on_terminal() -> bool:
    """Whether somebody sits there who may want to chat; a script never falls into a screen."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _refuse_mistyped_command(words: list[str]) -> None:
    """One word that is nearly a command is hardly a question for a model."""
    if len(words) == 1 and words[0].isalpha():
        import difflib

        close = difflib.get_close_matches(words[0], _COMMANDS, n=1, cutoff=0.8)
        if close:
            raise click.UsageError(
                f"There is no command {words[0]!r}; did you mean {close[0]!r}?"
                f" To ask the model that word: localchat ask {words[0]}"
            )


@click.group(
    cls=_Commands,
    modules={name: f"localchat.cli.{name}" for name in _COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback with an error.")
@click.version_option(__version__, message="localchat %(version)s")
def group() -> None:
    """Chat with a language model on your own machine, offline.

    What is not a command is a prompt: localchat "Why is the sky blue?" Nothing at all opens the
    chat screen.
    """
