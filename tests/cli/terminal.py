"""Runs the real command on a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys

COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]
_PATIENCE = 5.0  # seconds
_LONGEST = 12  # times as long is what says nothing waited for


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
    is_typed = not typed
    silent = 0
    try:
        while True:
            # A Ctrl-C between a prompt and the reading of its answer is lost: typed again, then.
            if not select.select([terminal], [], [], _PATIENCE)[0]:
                silent += 1
                if silent == _LONGEST:
                    os.kill(child, signal.SIGKILL)
                elif is_typed and typed:
                    os.write(terminal, typed)
                continue
            silent = 0
            if not (data := os.read(terminal, 4096)):
                break
            written += data
            if not is_typed and prompt in written:
                os.write(terminal, typed)
                is_typed = True
    except OSError:
        pass  # the end of a terminal is an error
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), written
