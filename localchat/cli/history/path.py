"""`localchat history path`: where the conversations are."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output


@click.command("path")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Print the path of the file that holds the conversations."""
    history = paths.find().history
    if as_json:
        output.json_line({"path": str(history), "exists": history.exists()})
        return
    output.line(str(history))
