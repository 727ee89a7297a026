"""`localchat batch status`: how far the batch of an output is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from localchat.batch.beside import folder_of, is_at_work, manifest_of
from localchat.batch.journal import Journal
from localchat.cli import output
from localchat.errors import InputError

_FIRST = ("model", "prompt", "system", "choices", "json_schema")  # what a batch is known by
_LONGEST = 200  # characters of a value; --json has all of it


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
    of = f" of {rows:,}" if rows is not None else f" of about {total:,}" if total else ""
    ill = f", {failed:,} of them failed" if failed else ""
    output.line(f"{state}: {finished:,}{of} rows{ill}")
    output.line(f"input: {manifest['input'].get('path') or 'standard input'}")
    parameters = manifest["parameters"]
    for name in (*_FIRST, *sorted(parameters.keys() - {*_FIRST})):
        if (value := parameters.get(name)) not in (None, [], ""):
            output.line(f"{name}: {_shown(name, value)}")
    if state == "stopped":
        output.finish()
        output.note("The same command goes on from there.")


def _shown(name: str, value: Any) -> str:
    if name == "model":
        value = value["name"]
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
