"""A terminal, the real command in it, and what somebody who sits before it would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping

import pyte

COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]


class Terminal:
    """Runs `localchat` with these arguments; leaving the block ends it."""

    def __init__(
        self,
        *arguments: str,
        size: tuple[int, int] = (100, 30),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`size`: columns and rows."""
        self.written = b""
        """Every byte that came."""
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.execve(COMMAND[0], [*COMMAND, *arguments], environ)
        self.resize(*size)
        self._code: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    @property
    def text(self) -> str:
        """The screen as it is now."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        with self._lock:
            self._screen.resize(rows, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._fd)

    def until(self, holds: Callable[[str], object], seconds: float = 60.0) -> str:
        """The screen once something is on it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.text
            if holds(text):
                return text
            time.sleep(0.02)
        raise AssertionError(f"it did not come to that:\n{self.text}")

    def wait(self, seconds: float = 30.0) -> int:
        """The exit code, minus a signal's number, once the process has ended."""
        deadline = time.monotonic() + seconds
        while self._code is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._code = os.waitstatus_to_exitcode(status)
                self._reader.join(5)
            elif time.monotonic() > deadline:
                raise AssertionError(f"it has not ended:\n{self.text}")
            else:
                time.sleep(0.02)
        return self._code

    def _read(self) -> None:
        while True:
            try:
                if not select.select([self._fd], [], [], 0.5)[0]:
                    continue
                data = os.read(self._fd, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            with self._lock:
                self.written += data
                self._stream.feed(data)
