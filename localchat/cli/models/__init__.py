"""`localchat models`: what can be had, what is installed, and its care. One file a command."""

from __future__ import annotations

import click

from localchat.cli import pull
from localchat.cli.models import list_models, path


@click.group("models", no_args_is_help=False)
def command() -> None:
    """List models and find their files."""


for each in (list_models, path, pull):
    command.add_command(each.command)
