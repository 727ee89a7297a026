"""`localchat models show`: all that is known of one model."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import paths
from localchat.cli import output
from localchat.errors import InputError


@click.command("show")
@click.argument("name")
@click.option("--template", is_flag=True, help="Print the chat template, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str, template: bool, as_json: bool) -> None:
    """Show what NAME is: size, licence, digests, where it comes from, what its file says of itself.

    NAME is a model of the catalogue, an installed one, or the path of a .gguf file.
    """
    from localchat.registry.catalogue.portrait import portray

    found = portray(name, paths.find())
    if template:
        if found.template is None:
            raise InputError(
                f"{name} has no chat template that can be read.", f"localchat models show {name}"
            )
        output.write(found.template.rstrip("\n") + "\n")
        return
    if as_json:
        output.json_line(asdict(found))
        return
    rows = found.rows()
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        output.line(f"{label:{width}}  {text}")
