"""`localchat presets edit`: a preset of the user's in an editor."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from localchat import paths
from localchat.cli import output
from localchat.errors import UsageError
from localchat.paths import Paths
from localchat.presets.folder import find, own_path, write_own

_SKELETON = b"""\
# What is not set here is left to settings and the model. Flags go before all of it.

# description = "What it is for, in one line"

# system = \"\"\"
# Instructions that come before the prompt. Write in {language}.
# \"\"\"

# model = "smollm2-135m"
# reasoning = "auto" # whether a reasoning model thinks first: auto, on or off

# [parameters] # for {language} above: its default; an empty one must be given with -p
# language = "English"

# [sampling]
# temperature = 0.7
# top_p = 0.95
# top_k = 40
# min_p = 0.05
# repeat_penalty = 1.0
# frequency_penalty = 0.0
# presence_penalty = 0.0
# seed = 1
# max_tokens = 500
# stop = ["END"]
"""


@click.command("edit")
@click.argument("name")
def command(name: str) -> None:
    """Edit your preset NAME, and make it if it is new. Yours takes a shipped one's place.

    The editor is the one that $VISUAL or $EDITOR names.
    """
    places = paths.find()
    path = own_path(name, places)
    _require_terminal(path)
    begun = _begin(name, places)
    try:
        _edit(path)
    finally:
        if begun is not None and path.exists() and path.read_bytes() == begun:
            path.unlink()  # a copy that says nothing of its own would only hide what ships later
    if not path.exists():
        output.note("Nothing was changed.")
        return
    find(name, places).preset()
    output.note(f"The preset {name} is in {path}.")


def _require_terminal(path: Path) -> None:
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        raise UsageError(
            "There is no terminal to edit on.",
            f"write {path} yourself, then: localchat presets show {path.stem}",
        )


def _begin(name: str, places: Paths) -> bytes | None:
    """What a new file of the user's begins as; None if there is one already."""
    if os.path.lexists(own_path(name, places)):
        return None
    try:
        text = find(name, places).read()
    except UsageError:
        text = _SKELETON
    write_own(name, text, places)
    return text


def _edit(path: Path) -> None:
    try:
        click.edit(filename=str(path))
    except ValueError as error:  # a quote in $EDITOR that is never closed
        raise UsageError(
            f"The editor can't be started: {error}.", "set EDITOR to a command, such as nano"
        ) from error
    if path.is_file() and not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)  # as an editor that writes anew may leave it
