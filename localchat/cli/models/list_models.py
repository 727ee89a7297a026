"""`localchat models list`: what is in the catalogue, and what is installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from localchat import paths
from localchat.cli import output

if TYPE_CHECKING:
    from localchat.registry.catalogue.listing import Row


@click.command("list")
@click.option("-i", "--installed", is_flag=True, help="Only those that are installed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(installed: bool, as_json: bool) -> None:
    """List the models of the catalogue and those installed from elsewhere.

    What fits this machine, and how fast it would be: localchat models fit.
    """
    from localchat.registry.catalogue.listing import count, listing

    rows = [row for row in listing(paths.find()) if row.installed or not installed]
    if as_json:
        output.json_line([asdict(row) for row in rows])
        return
    if not rows:
        output.note("No model is installed. To get one: localchat pull NAME")
        return
    width = max(len(row.name) for row in rows)
    output.line(f"{'NAME':{width}}  KIND       WEIGHTS  QUANT          SIZE             LICENCE")
    for row in rows:
        weights = "?" if row.parameters is None else count(row.parameters)
        output.line(
            f"{row.name:{width}}  {row.kind or row.origin:9}  {weights:>7}"
            f"  {row.quantization:7}  {_size(row):>10}"
            f"  {'installed' if row.installed else '':9}  {row.licence or '?'}"
        )


def _size(row: Row) -> str:
    return f"{row.size / 1e6:,.0f} MB" if row.size else "?"
