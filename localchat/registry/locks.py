"""One process at a time works on a file of the models folder. A lock goes with its holder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_GLANCE = 0.2  # seconds between two looks at what another process does


@contextmanager
def held(target: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock of the model file `target`; `waiting` is called again and again before.

    Without `waiting`, a lock that another process has raises BlockingIOError. Ctrl-C ends a wait.
    """
    path = target.with_suffix(".lock")
    descriptor = _open(path)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise
                waiting()
                time.sleep(_GLANCE)
                continue
            if _is_at(path, descriptor):
                break
            os.close(descriptor)  # its last holder removed it together with the model
            descriptor = _open(path)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.lstat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
