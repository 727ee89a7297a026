"""What the engine process may and may not do, set before anything else runs in it."""

from __future__ import annotations

import os
import resource
import signal

_MANY = 65536  # beyond any descriptor a shell or a test runner leaves open


def apply(ready_fd: int) -> None:
    """No core dumps (they hold prompts), private files, no stray signals from a terminal.

    Descriptors that whoever called the client left open are closed, but for the streams and
    `ready_fd`: a script that waits for the end of a pipe must not wait for the engine. ggml would
    otherwise start a debugger on itself when it aborts.
    """
    os.closerange(3, ready_fd)
    os.closerange(ready_fd + 1, _MANY)
    os.umask(0o077)
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["GGML_NO_BACKTRACE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
