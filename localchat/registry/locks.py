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
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(target.with_suffix(".lock"), flags, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waiting is None:
                    raise
                waiting()
                time.sleep(_GLANCE)
        yield
    finally:
        # The file stays: removing it would let two processes lock two files of one name.
        os.close(descriptor)
