"""Runs the real command on a terminal of its own."""

from __future__ import annotations

import os
import pty
import signal
import sys

COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]


def on_terminal(*arguments: str, answer: tuple[bytes, bytes] = (b"", b"")) -> tuple[int, bytes]:
    """Exit code and every byte a command writes to its terminal.

    `answer`: what is waited for, and what is typed then.
    """
    child, terminal = pty.fork()
    if child == 0:
        # A shell that starts jobs in the background makes them ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    prompt, typed = answer
    written = b""
    try:
        while data := os.read(terminal, 4096):
            written += data
            if typed and prompt in written:
                os.write(terminal, typed)
                typed = b""
    except OSError:
        pass  # the end of a terminal is an error
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written
