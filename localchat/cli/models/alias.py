"""`localchat models alias`: the user's own names for models."""

from __future__ import annotations

import re
from pathlib import Path

import click

from localchat import paths
from localchat.cli import output
from localchat.errors import ModelNotFound, UsageError
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.catalogue import names

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]*")


@click.command("alias")
@click.argument("alias", required=False)
@click.argument("name", required=False)
@click.option("--rm", "remove", is_flag=True, help="Remove ALIAS.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(
    ctx: click.Context, alias: str | None, name: str | None, remove: bool, as_json: bool
) -> None:
    """Make ALIAS another name for the model NAME; without any, list them."""
    places = paths.find()
    if remove:
        if alias is None or name is not None:
            raise click.UsageError("Name the alias to remove, and nothing else.", ctx)
        if alias.lower() not in installed.aliases(places):
            raise ModelNotFound(f"There is no alias {alias!r}.", "localchat models alias")
        installed.set_alias(alias, None, places)
    elif alias is not None:
        if name is None:
            raise click.UsageError("Say which model the alias is for.", ctx)
        installed.set_alias(alias, _target(alias.lower(), name, places), places)
    known = installed.aliases(places)
    if as_json:
        output.json_line(known)
    elif alias is None:
        for each, target in sorted(known.items()):
            output.line(f"{each}  {target}")
        if not known:
            output.note("There are no aliases. To make one: localchat models alias ALIAS NAME")


def _target(alias: str, name: str, places: Paths) -> str:
    """What the alias is to stand for, wherever it is used.

    Raises UsageError for what can't be an alias, ModelNotFound for no model.
    """
    from localchat.registry.catalogue import catalog
    from localchat.registry.resolve import resolve

    if not _ALIAS.fullmatch(alias):
        raise UsageError(
            f"{alias!r} can't be an alias: letters, digits, '.', '-' and '_'.",
            "localchat models alias my-model NAME",
        )
    known = {key for entry in catalog.entries() for key in entry.keys}
    known |= {key for record in installed.records(places) for key in record.keys}
    if alias in known:
        raise UsageError(f"{alias} is the name of a model already.", "choose another alias")
    name = installed.aliases(places).get(name.lower(), name)
    if name.lower() in known:
        return name
    parsed = names.parse(name)
    if isinstance(parsed, names.CatalogueName):
        catalog.find(name)  # raises, and names what is near
    if isinstance(parsed, names.PathName):
        return str(Path(resolve(name, places).path))
    return name
