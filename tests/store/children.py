"""Child processes of a test, which tell it what they have done, and can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

Acknowledge = Callable[..., None]
Work = Callable[[Acknowledge], None]


class Child:
    """A process that does `work`, forked: it starts in no time."""

    def __init__(self, work: Work) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                os.close(self._reading)
                pipe = os.fdopen(writing, "w", buffering=1)
                work(lambda *what: print(*what, file=pipe))
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        self._pipe = os.fdopen(self._reading)

    def line(self) -> list[str]:
        """The words of the next line it acknowledges; none if it has ended."""
        return self._pipe.readline().split()

    def kill(self) -> list[list[str]]:
        """Kills it; the whole lines it acknowledged before. Fails if it had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        assert os.WIFSIGNALED(self._wait()), "the child ended by itself"
        return self._rest()

    def end(self) -> list[list[str]]:
        """Waits for its end; the lines it acknowledged. Fails if it failed."""
        lines = self._rest()
        assert self._wait() == 0, "the child failed"
        return lines

    def _rest(self) -> list[list[str]]:
        with self._pipe:
            return [line.split() for line in self._pipe.read().split("\n")[:-1]]

    def _wait(self) -> int:
        return os.waitpid(self.pid, 0)[1]
