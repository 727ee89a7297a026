"""`localchat presets`: the shipped ones and the user's own. One file a command."""

from __future__ import annotations

import click

from localchat.cli.lazy import LazyGroup

_OWN = ("list", "show", "edit", "rm", "path")
# Where a module can't be called as its command is.
_MODULES = {"list": "list_presets"}


@click.group(
    "presets",
    cls=LazyGroup,
    modules={name: f"localchat.cli.presets.{_MODULES.get(name, name)}" for name in _OWN},
)
def command() -> None:
    """Give instructions, a model and sampling values one name.

    A preset is used with -t NAME, or always with the setting preset. Flags go before it.
    """
