"""Text from outside, made fit for one line of the screen."""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

from localchat.sanitize import clean

_SPACE = re.compile(r"\s")
_MOST = 1000  # characters that are looked at: more than any screen is wide


def one_line(text: str) -> str:
    """`text` harmless and on one line: white space of any kind and length becomes one space."""
    return " ".join(clean(text[:_MOST]).split())


def flat(text: str) -> str:
    """`text` harmless and on one line, cut anywhere or not: each white space becomes a space."""
    return _SPACE.sub(" ", clean(text))


def cut(text: str, cells: int) -> str:
    """`text` in at most so many cells; one that is cut ends with an ellipsis."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…" if cells > 0 else ""
