"""What the engine process may and may not do, set before anything else runs in it."""

from __future__ import annotations

import os
import resource
import signal


def apply() -> None:
    """No core dumps (they hold prompts), private files, no stray signals from a terminal.

    ggml would otherwise start a debugger on itself when it aborts.
    """
    os.umask(0o077)
    os.chdir("/")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["GGML_NO_BACKTRACE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
