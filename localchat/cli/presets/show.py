"""`localchat presets show`: what a preset says."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import paths
from localchat.cli import output
from localchat.presets.folder import find


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str, as_json: bool) -> None:
    """Show the file of the preset NAME."""
    entry = find(name, paths.find())
    if as_json:
        found = asdict(entry.preset())
        output.json_line({**found, "source": entry.source, "path": str(entry.path)})
        return
    output.write(entry.read().decode("utf-8", "replace"))
    output.finish()
    entry.preset()  # says what is wrong in it, below the text
