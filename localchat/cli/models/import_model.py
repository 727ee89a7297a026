"""`localchat models import`: a file or a bundle of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.progress import shown
from localchat.errors import UsageError
from localchat.registry.files.blobs import Way


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What to call it; else what its file is called.")
@click.option("--link", "way", flag_value="link", help="Use the file where it lies (a .gguf file).")
@click.option("--copy", "way", flag_value="copy", help="Make a copy of our own (a bundle).")
@click.option("--move", "way", flag_value="move", help="Take the file over.")
@click.option(
    "--projector",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file that goes with it for images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(
    path: Path, name: str | None, way: Way | None, projector: Path | None, as_json: bool
) -> None:
    """Install the .gguf file PATH, or the bundle in the folder PATH that export wrote.

    Without a flag a file is used where it lies, and a bundle is copied. A file of another tool's
    store (Ollama's blobs too) is named by its path. Nothing is downloaded.
    """
    from localchat.registry.care import bundle, imports

    places = paths.find()
    with shown(f"Importing {path.name}", lines=False) as watcher:
        if bundle.is_bundle(path):
            if projector is not None:
                raise UsageError(
                    "A bundle brings its own projector.", f"localchat models import {path}"
                )
            record = bundle.import_bundle(
                path, places, way=way or "copy", name=name, watcher=watcher
            )
        else:
            record = imports.import_file(
                path, places, way=way or "link", name=name, projector=projector, watcher=watcher
            )
    if as_json:
        output.json_line(
            {
                "name": record.name,
                "path": str(record.path(places)),
                "sha256": record.sha256,
                "size": record.size,
                "origin": record.origin,
            }
        )
        return
    output.line(record.name)
    output.note(f"To use it: localchat -m {record.name} …")
