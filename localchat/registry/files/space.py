"""Room on a disk: asked for before anything is written, and missed while it is."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localchat.errors import LocalchatError, OutOfSpace

_MARGIN = 1.05  # room for what the file system itself needs, and for other programs


def check(size: int, folder: Path, what: str, hint: str | None = None) -> None:
    """Raises OutOfSpace if `size` bytes of `what` don't fit where `folder` is; OSError."""
    needed, free = int(size * _MARGIN), shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"{what} needs {needed / 1e6:,.0f} MB of disk space,"
            f" but {folder} has {free / 1e6:,.0f} MB free.",
            hint or "free some space: localchat models gc",
        )


@contextmanager
def told(folder: Path, hint: str | None = None) -> Iterator[None]:
    """Turns what the system says while files are written to `folder` into sentences.

    `hint`: what to do when the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"The disk filled up while writing to {folder}.", hint) from error
        raise LocalchatError(f"{folder} can't be used: {error.strerror}.") from error
