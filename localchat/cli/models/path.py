"""`localchat models path`: where a model's file is."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output


@click.command("path")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str | None, as_json: bool) -> None:
    """Print the path of an installed model's file; without NAME, of the models folder."""
    from localchat.registry.resolve import resolve

    places = paths.find()
    found = resolve(name, places).path if name else str(places.models)
    if as_json:
        output.json_line({"name": name, "path": found})
    else:
        output.line(found)
