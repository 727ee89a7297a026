"""`localchat models rm`: takes a model away."""

from __future__ import annotations

import os
import sys

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.models.installed_models import find
from localchat.client.engines import running
from localchat.errors import LocalchatError, UsageError
from localchat.paths import Paths
from localchat.registry.files import blobs
from localchat.registry.installed import Record, location
from localchat.sanitize import clean


@click.command("rm")
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove the files of NAMES from this machine.

    A file that only was linked to stays where it lies. A model in use is not removed.
    """
    from localchat.registry.care.removal import remove

    places = paths.find()
    records = list(
        {record.name: record for record in (find(name, places) for name in names)}.values()
    )
    for record in records:
        _refuse_in_use(record, places)
    if not yes and not _agreed(records, places):
        output.note("Nothing was removed.")
        return
    freed = {record.name: remove(record, places) for record in records}
    if as_json:
        output.json_line([{"name": name, "freed": size} for name, size in freed.items()])
        return
    for name, size in freed.items():
        output.line(f"Removed {name}: {size / 1e6:,.1f} MB are free now.")


def _agreed(records: list[Record], places: Paths) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        names = " ".join(record.name for record in records)
        raise UsageError(
            "There is no terminal to ask on whether to remove it.",
            f"localchat models rm -y {names}",
        )
    what = ", ".join(f"{record.name} ({_size(record, places)})" for record in records)
    return click.confirm(clean(f"Remove {what}?"), err=True)


def _size(record: Record, places: Paths) -> str:
    if blobs.is_linked(record.parts[0].sha256, places):
        return "a link; the file stays"
    return f"{record.size / 1e6:,.1f} MB"


def _refuse_in_use(record: Record, places: Paths) -> None:
    files = {os.path.realpath(location(part.sha256, places)) for part in record.all_parts}
    for engine in running(places):
        opened = (engine.status["path"], engine.status.get("draft"))
        if files & {os.path.realpath(path) for path in opened if path}:
            raise LocalchatError(
                f"{record.name} is in use by an engine (process {engine.status['pid']}).",
                f"localchat stop {engine.status['model']}",
            )
