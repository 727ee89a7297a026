"""Which word is being written where the cursor stands."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_FILE = re.compile(r"(?:^|(?<=[\s(\[\"']))@(\S*)$")
_COMMAND = re.compile(r"/(?!/)(\S*)$")
_ARGUMENT = re.compile(r"/(\S+)\s+(.*)$")


class Wanted(NamedTuple):
    """A word that can be completed."""

    kind: Literal["command", "argument", "file"]
    query: str
    """What there is of it, without its sign."""
    start: int
    """The column where it begins, with its sign."""
    command: str = ""
    """Of an argument: whose."""


def wanted(before: str, row: int) -> Wanted | None:
    """What is being written at the end of `before`, the part of a line before the cursor.

    Commands are in the first row only.
    """
    if row == 0:
        if found := _COMMAND.match(before):
            return Wanted("command", found[1], 0)
        if before.startswith("/") and (found := _ARGUMENT.match(before)):
            return Wanted("argument", found[2], found.start(2), found[1])
    if found := _FILE.search(before):
        return Wanted("file", found[1], found.start())
    return None
