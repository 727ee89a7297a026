"""Turns that the worker processes of one test run take: most tests side by side, some alone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Holds a lock of this kind on the file, which is made if need be."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        # Said, not left to the closing: a child that was forked meanwhile holds the lock, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Waits until a test may run: beside those of other workers, or while none of them runs."""
    with ExitStack() as room:
        # Whoever waits for an empty room keeps the door: else others would go on coming in.
        with locked(folder / "door.lock"):
            kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
            room.enter_context(locked(folder / "room.lock", kind))
        yield
