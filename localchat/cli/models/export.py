"""`localchat models export`: a bundle for a machine without a network."""

from __future__ import annotations

from pathlib import Path

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.models.installed_models import find
from localchat.cli.progress import shown


@click.command("export")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str, folder: Path, as_json: bool) -> None:
    """Write NAME with its digests, template and licence into FOLDER, to be carried away.

    On the other machine: localchat models import FOLDER.
    """
    from localchat.registry.care.export import export

    places = paths.find()
    record = find(name, places)
    with shown(f"Exporting {record.name}", lines=False) as watcher:
        bundle = export(record, folder, places, watcher)
    if as_json:
        output.json_line(bundle.model_dump(mode="json") | {"folder": str(folder.absolute())})
        return
    output.line(str(folder.absolute()))
    output.note(f"On the other machine: localchat models import {folder.name}")
