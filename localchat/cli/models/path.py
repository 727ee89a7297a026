"""`localchat models path`: where a model's file is."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output


@click.command("path")
@click.argument("name")
def command(name: str) -> None:
    """Print the path of an installed model's file."""
    from localchat.registry.resolve import resolve

    output.line(resolve(name, paths.find()).path)
