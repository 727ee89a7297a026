"""`localchat models list`: what is in the catalogue, and what is installed."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import paths
from localchat.cli import output


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(as_json: bool) -> None:
    """List the models of the catalogue; installed ones are marked."""
    from localchat.registry.listing import listing

    rows = listing(paths.find())
    if as_json:
        output.json_line([asdict(row) | {"path": row.path and str(row.path)} for row in rows])
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "installed" if row.installed else (f"{row.size / 1e6:,.0f} MB" if row.size else "?")
        output.line(f"{row.name:{width}}  {row.quantization:7}  {mark:>9}  {row.licence}")
