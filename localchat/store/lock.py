"""Whose turn it is to write: one process after the other, in a queue of our own.

SQLite's own waiting gives way again and again to whoever asks most often, until it fails with
"database is locked". Holding this lock also means that the file isn't replaced meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from localchat.errors import HistoryFailed

_PATIENCE = 30.0  # seconds
_GLANCE = 0.001  # seconds between two looks, on average: a commit takes about as long


class Lock:
    """A lock on a file, released with the process. One thread's, which may hold it repeatedly."""

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._is_open = True
        self._depth = 0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raises HistoryFailed if another process holds it for half a minute."""
        if not self._depth:
            self._take()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _take(self) -> None:
        # Not a blocking lock: a process stopped by Ctrl-Z would stop all the others.
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HistoryFailed(
                        "Another localchat keeps the history to itself.",
                        "See if one is stopped or still importing: jobs, ps",
                    ) from None
                # Unequally long, so that waiters don't march in step.
                time.sleep(_GLANCE * os.urandom(1)[0] / 128)
            else:
                return

    @property
    def checked(self) -> float:
        """When the whole history was last checked, seconds since the epoch: the file's time."""
        return os.fstat(self._descriptor).st_mtime

    def set_checked(self, when: float) -> None:
        os.utime(self._descriptor, (when, when))

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._descriptor)
