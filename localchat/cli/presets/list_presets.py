"""`localchat presets list`: the shipped presets and the user's own."""

from __future__ import annotations

from typing import Any

import click

from localchat import paths
from localchat.cli import output
from localchat.errors import ConfigError
from localchat.presets.folder import Entry, entries


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(as_json: bool) -> None:
    """List the presets: those that ship with localchat, and your own."""
    rows = [_row(entry) for entry in entries(paths.find())]
    if as_json:
        output.json_line(rows)
        return
    width = max(len(row["name"]) for row in rows)
    output.line(f"{'NAME':{width}}  FROM     DESCRIPTION")
    for row in rows:
        text = (
            f"{row['name']:{width}}  {row['source']:7}  {row['fault'] or row['description'] or ''}"
        )
        output.line(text.rstrip())


def _row(entry: Entry) -> dict[str, Any]:
    description = fault = None
    try:
        description = entry.preset().description
    except ConfigError as error:
        fault = str(error)
    return {
        "name": entry.name,
        "source": entry.source,
        "description": description,
        "path": str(entry.path),
        "fault": fault,
    }
