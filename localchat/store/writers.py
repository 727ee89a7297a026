"""Signs of life of the processes that write replies: locked files, one for each.

A lock goes with its process however that ends. A process id would not do: ids are given again, and
a container has ids of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from localchat.paths import make_private


class Writers:
    """The folder with the files, and this process's own one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: tuple[str, int] | None = None

    def own(self) -> str:
        """The name that replies are marked with while this process writes them."""
        if self._own is None:
            make_private(self._folder)
            self._sweep()
            while (made := self._make(os.urandom(8).hex())) is None:
                pass
            self._own = made
        return self._own[0]

    def _make(self, name: str) -> tuple[str, int] | None:
        """None if another process swept the file away before it was locked."""
        path = self._folder / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # those who look hold it for an instant only
        if path.exists():
            return name, descriptor
        os.close(descriptor)
        return None

    def is_alive(self, name: str | None) -> bool:
        """Whether the process that marked a reply with `name` still runs."""
        if not name:
            return False
        if self._own is not None and name == self._own[0]:
            return True
        return not self._is_free(self._folder / name, remove=False)

    def close(self) -> None:
        """What this process has not finished is incomplete from now on."""
        if self._own is not None:
            name, descriptor = self._own
            self._own = None
            (self._folder / name).unlink(missing_ok=True)
            os.close(descriptor)

    def _sweep(self) -> None:
        """Removes what killed processes left."""
        with os.scandir(self._folder) as files:
            for file in files:
                self._is_free(Path(file.path), remove=True)

    def _is_free(self, path: Path, *, remove: bool) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            # Shared: two who look at once must not take each other for the writer.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            if remove:
                with contextlib.suppress(OSError):
                    path.unlink()
            return True
        finally:
            os.close(descriptor)
