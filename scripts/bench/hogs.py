"""Processes that take cores from the others, as a compiler or a game does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_SPIN = "while True: pass"


class Hogs:
    """Spinning processes, of the same priority as everything else."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def become(self, count: int) -> None:
        """Returns once exactly so many of them exist."""
        while len(self._processes) < count:
            self._processes.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", _SPIN]))
        while len(self._processes) > count:
            process = self._processes.pop()
            process.kill()
            process.wait()


@contextlib.contextmanager
def hogs() -> Iterator[Hogs]:
    result = Hogs()
    try:
        yield result
    finally:
        result.become(0)
