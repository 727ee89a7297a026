"""Files within a user's message: as `name:` and a fenced text, or folded to a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FILE = re.compile(
    r"^(?P<name>[^\n]{1,200}):\n(?P<fence>`{3,})\n(?P<text>.*?)\n(?P=fence)$", re.M | re.S
)
_SHORT = 3  # lines that are not worth folding


def folded(content: str, *, unfold: bool) -> Iterator[tuple[str, bool]]:
    """The parts of a message: (text, whether it stands for a file)."""
    at = 0
    if not unfold:
        for match in _FILE.finditer(content):
            lines = match["text"].count("\n") + 1
            if lines <= _SHORT:
                continue
            if before := content[at : match.start()].strip("\n"):
                yield before, False
            yield f"▸ {match['name']}, {lines:,} lines", True
            at = match.end()
    if (rest := content[at:].strip("\n") if at else content) or not at:
        yield rest, False
