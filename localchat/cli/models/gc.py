"""`localchat models gc`: clears up."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import paths
from localchat.cli import output


@click.command("gc")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(dry_run: bool, as_json: bool) -> None:
    """Remove downloads that were cut off, and files that no installed model refers to."""
    from localchat.registry.care.removal import collect, garbage

    places = paths.find()
    found = garbage(places) if dry_run else collect(places)
    freed = sum(each.size for each in found)
    if as_json:
        output.json_line(
            {"dry_run": dry_run, "freed": freed, "files": [asdict(each) for each in found]}
        )
        return
    for each in found:
        output.line(f"{each.name[:12]}  {each.size / 1e6:9,.1f} MB  {each.kind}")
    verb = "would be free" if dry_run else "are free now"
    output.line(f"{freed / 1e6:,.1f} MB {verb}.")
