"""Who may work on the models folder. A lock goes with the process that holds it.

Each file has a lock, for one process at a time. The folder has one that many hold while files come
in that no record refers to yet: whoever clears up asks whether anyone does.
"""

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
    while True:
        descriptor = _open(path)
        try:
            _take(descriptor, waiting)
            if _is_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        # Its last holder removed it together with the model: there is another by now.


@contextmanager
def incoming(folder: Path) -> Iterator[None]:
    """Held while files come into `folder` and are not recorded yet; by any number at once."""
    descriptor = _open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # those that clear up are done in an instant
        yield
    finally:
        os.close(descriptor)


@contextmanager
def quiet(folder: Path) -> Iterator[bool]:
    """Whether nothing comes into `folder` now. If so, nothing begins to before the block ends."""
    descriptor = _open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_quiet = True
    except BlockingIOError:
        is_quiet = False
    try:
        yield is_quiet
    finally:
        os.close(descriptor)


def _take(descriptor: int, waiting: Callable[[], None] | None) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise
            waiting()
            time.sleep(_GLANCE)
        else:
            return


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return path.lstat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
