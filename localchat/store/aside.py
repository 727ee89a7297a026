"""Moving a damaged history aside, and the one that was recovered from it into its place.

A process that is killed meanwhile leaves one of the two in place, and the next one finishes what it
began.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from localchat.store.connection import SIDE_FILES, sync


def names(path: Path) -> tuple[Path, Path]:
    """The new file while it is being made, and once it is complete."""
    return path.with_suffix(".recovering"), path.with_suffix(".recovered")


def is_unfinished(path: Path) -> bool:
    """Whether a process was killed after it had made the new file, before it took its place."""
    return os.path.exists(names(path)[1])  # noqa: PTH110 - at every transaction


def finish(path: Path) -> Path:
    """Moves the damaged file aside and the new one into its place; where the damaged one is now.

    The log goes first: SQLite would take it for the new file's own.
    """
    kept = _unused(path)
    for suffix in (*reversed(SIDE_FILES), ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{kept}{suffix}")  # noqa: PTH104
    names(path)[1].replace(path)
    sync(path.parent)
    return kept


def kept(path: Path) -> list[Path]:
    """The damaged files that were moved aside, and what was beside them."""
    return sorted(path.parent.glob(f"{path.stem}.damaged-*"))


def _unused(path: Path) -> Path:
    day = time.strftime("%Y-%m-%d")
    number = 1
    while True:
        name = path.with_name(f"{path.stem}.damaged-{day}-{number}{path.suffix}")
        # One whose log alone was moved is gone on with.
        if not name.exists():
            return name
        number += 1
