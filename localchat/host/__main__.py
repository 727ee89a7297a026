"""`python -m localchat.host SPEC`: starts an engine process. Clients do this, not people.

SPEC is a JSON object: runtime, key, model, options, keep_alive, snapshots and speeds
(folders), ready_fd. Output goes to the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from localchat.host import limits
from localchat.host.endpoint import Endpoint
from localchat.host.server import Server
from localchat.sanitize import escape
from localchat.types import LoadOptions, ModelRef


def log(line: str) -> None:
    """One line to the log; text from model files is escaped, prompts never come here."""
    stamp = time.strftime("%H:%M:%S")
    with contextlib.suppress(OSError):  # a full disk must not end the engine
        os.write(2, f"{stamp} {escape(line)}\n".encode("utf-8", "replace"))


def main() -> None:
    spec = json.loads(sys.argv[1])
    limits.apply(spec["ready_fd"])
    model = spec["model"]
    model["sampling"] = tuple(tuple(pair) for pair in model["sampling"])
    server = Server(
        Endpoint(Path(spec["runtime"]), spec["key"]),
        ModelRef(**model),
        LoadOptions(**spec["options"]),
        spec["keep_alive"],
        Path(spec["snapshots"]),
        Path(spec["speeds"]),
        log,
    )
    signal.signal(signal.SIGTERM, lambda *_: server.leave("terminated"))
    os.write(spec["ready_fd"], b"1")
    os.close(spec["ready_fd"])
    server.run()
    # Weights and KV cache go with the process; freeing them one by one only takes time.
    os._exit(0)


main()
