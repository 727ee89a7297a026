"""`localchat history stats`: how much is kept."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import size, when
from localchat.cli.history.opened import existing, say_none
from localchat.store.records import Stats

_NONE = Stats(0, 0, 0, 0, None, None, ())


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Show how much is kept, and since when."""
    with existing(paths.find()) as store:
        found = store.stats() if store else _NONE
    if as_json:
        output.json_line(found._asdict())
        return
    if store is None:
        say_none()
        return
    output.line(f"conversations  {found.conversations:,}")
    output.line(f"messages       {found.messages:,}")
    output.line(f"tokens         {found.completion_tokens:,} generated here")
    output.line(f"size           {size(found.size)}")
    if found.oldest is not None and found.newest is not None:
        output.line(f"oldest         {when(found.oldest)}")
        output.line(f"last used      {when(found.newest)}")
    for path in found.damaged:
        output.line(f"damaged        {path}")
