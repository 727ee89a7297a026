"""`localchat presets rm`: takes a preset of the user's away."""

from __future__ import annotations

import sys

import click

from localchat import paths
from localchat.cli import output
from localchat.errors import UsageError
from localchat.presets.folder import Entry, find, own_path
from localchat.sanitize import clean


@click.command("rm")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(name: str, yes: bool) -> None:
    """Remove your own preset NAME. If one of that name ships with localchat, it is back."""
    places = paths.find()
    entry = find(name, places)
    if not entry.is_own:
        raise UsageError(
            f"The preset {name} ships with localchat and can't be removed; yours can take its"
            " place.",
            f"localchat presets edit {name}",
        )
    if not yes and not _agreed(entry):
        output.note("Nothing was removed.")
        return
    own_path(name, places).unlink(missing_ok=True)
    output.note(
        f"Removed {entry.path}."
        + (f" The preset {name} is the shipped one again." if entry.is_shipped else "")
    )


def _agreed(entry: Entry) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "There is no terminal to ask on whether to remove it.",
            f"localchat presets rm -y {entry.name}",
        )
    return click.confirm(clean(f"Remove {entry.path}?"), err=True)
