"""`localchat batch status`: how far the batch of an output is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from localchat.batch.beside import folder_of, is_at_work, manifest_of
from localchat.batch.journal import Journal
from localchat.cli import output
from localchat.errors import InputError


@click.command("status")
@click.argument("target", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(target: str, as_json: bool) -> None:
    """Say how far the batch that writes OUT is, and what it asks."""
    path = Path(target).absolute()
    manifest = manifest_of(path)
    if manifest is None:
        raise InputError(f"There is no batch of {target}.", f"localchat batch IN -o {target}")
    with closing(Journal(folder_of(path) / "rows.db")) as journal:
        finished, failed = journal.counts()
        total = journal.total
    rows = manifest["input"].get("rows")
    state = "running" if is_at_work(path) else "finished" if rows is not None else "stopped"
    if as_json:
        output.json_line(
            {
                "state": state,
                "finished": finished,
                "failed": failed,
                "total": total if rows is None else rows,
                **manifest,
            }
        )
        return
    of = f"{rows:,}" if rows is not None else f"about {total:,}" if total is not None else "?"
    output.line(f"{state}: {finished:,} of {of} rows, {failed:,} of them failed")
    output.line(f"input: {manifest['input'].get('path') or 'standard input'}")
    for name, value in manifest["parameters"].items():
        if value not in (None, [], ""):
            shown = value["name"] if name == "model" else value
            output.line(f"{name}: {shown}")
