"""A group of commands whose modules are imported when they are used, or for their line of help."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """`modules` says in which module the `command` of each name is."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        # Without a command, say so in a sentence: a page of help is for those who ask for it.
        super().__init__(*args, **options | {"no_args_is_help": False})
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        command: click.Command = importlib.import_module(self._modules[cmd_name]).command
        return command
