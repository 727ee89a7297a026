"""`localchat config`: every setting and path in force, and where each comes from."""

from __future__ import annotations

from dataclasses import asdict, fields

import click

from localchat import config, paths
from localchat.cli import output


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Show every setting and folder in force. Each comes with its origin.

    A setting is changed in config.toml (temperature = 0.5) or for one command by the environment
    (LOCALCHAT_TEMPERATURE=0.5); a command's own flags come on top.
    """
    places = paths.find()
    origins = config.explain(places)
    folders = {field.name: str(getattr(places, field.name)) for field in fields(places)}
    if as_json:
        output.json_line({"settings": [asdict(origin) for origin in origins], "paths": folders})
        return
    width = max(len(origin.name) for origin in origins)
    for origin in origins:
        value = "unset" if origin.value is None else str(origin.value)
        output.line(f"{origin.name:{width}}  {value:14}  {origin.source}")
        output.line(f"{'':{width}}  {origin.meaning}")
    output.line()
    for name, folder in folders.items():
        output.line(f"{name:{width}}  {folder}")
