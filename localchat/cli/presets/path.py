"""`localchat presets path`: where a preset's file is."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.presets.folder import find


@click.command("path")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """Print the path of a preset's file; without NAME, of the folder with your own."""
    places = paths.find()
    found = str(find(name, places).path if name is not None else places.presets)
    if as_json:
        output.json_line({"name": name, "path": found})
    else:
        output.line(found)
