"""A process on a pseudo-terminal: when its first frame is there, when a key is on the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_ROWS, _COLUMNS = 40, 120
_ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[P\]_].*?(?:\x1b\\|\x07)|\x1b.", re.S)
_PATIENCE = 60  # seconds
_ALTERNATE = b"\x1b[?1049h"
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class OnTerminal:
    """Started by `started`; what it writes has to be read for it to go on."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._start = time.perf_counter()

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data)

    def read(self, seconds: float) -> bytes:
        """What comes within so many seconds, as soon as there is something."""
        if not select.select([self._descriptor], [], [], max(seconds, 0))[0]:
            return b""
        try:
            return os.read(self._descriptor, 1 << 16)
        except OSError:
            sys.exit("Error: the screen has ended by itself.")

    def first_frame(self) -> float:
        """Seconds from the start until each cell of the screen was written once."""

        def is_whole(written: bytes) -> bool:
            _, found, frame = written.partition(_ALTERNATE)
            text = _ESCAPES.sub(b"", frame).decode("utf-8", "ignore")
            return bool(found) and len(text) >= 0.9 * _ROWS * _COLUMNS

        self.until_written(is_whole)
        return time.perf_counter() - self._start

    def until_written(self, holds: Callable[[bytes], bool]) -> None:
        """Reads until what was written meanwhile is so."""
        written = b""
        end = time.monotonic() + _PATIENCE
        while not holds(written):
            written += self.read(_PATIENCE)
            if time.monotonic() > end:
                sys.exit("Error: the screen does not show what it should.")

    def until(self, holds: Callable[[], bool]) -> None:
        """Reads until something is so."""
        while not holds():
            self.read(0.05)

    def seen(self, keys: bytes, sign: bytes = b"") -> float:
        """Seconds from writing `keys` until `sign` was on the screen; empty: until anything is."""
        self.read(0)
        start = time.perf_counter()
        self.write(keys)
        self.until_written(lambda written: bool(written) and sign in written)
        return time.perf_counter() - start

    @property
    def processor_seconds(self) -> float:
        """Of the whole process, all threads."""
        values = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(values[11]) + int(values[12])) * _TICK

    @property
    def resident(self) -> float:
        """MB of memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_KB / 1000


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[OnTerminal]:
    """Runs a command on a terminal of 120 by 40; it is killed at the end."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        os.execv(command[0], command)
    try:
        yield OnTerminal(pid, descriptor)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)
