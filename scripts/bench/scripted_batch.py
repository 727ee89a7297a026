"""`localchat batch` on a client that answers at once: a process of its own for `batch_command`.

Arguments: those of the command. Prints a JSON object: seconds, and resident megabytes at most.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

from localchat.cli import main
from localchat.client.scripted import ScriptedClient
from localchat.events import Event, Finished, TextDelta
from localchat.types import GenerationRequest, Timings, Usage


class Echo(ScriptedClient):
    """Answers every request with one word, and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self._events: SimpleQueue[tuple[Event, Event]] = SimpleQueue()

    def submit(self, request: GenerationRequest) -> None:
        end = Finished(request.id, "stop", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0), 0)
        self._events.put((TextDelta(request.id, "yes"), end))

    def events(self) -> Iterator[Event]:
        while not self._events.empty():
            yield from self._events.get()


def peak_memory() -> int:
    """Resident bytes at most. Not rusage's: that begins with what the parent had."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text("utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run() -> None:
    from localchat.cli import engine

    vars(engine)["open_engine"] = lambda *_: Echo()
    start, started = time.perf_counter(), time.process_time()
    code = main.run(["batch", *sys.argv[1:]])
    figures = {
        "code": code,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - started,
        "megabytes": peak_memory() / 1e6,
    }
    print(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)  # as the command itself ends


if __name__ == "__main__":
    run()
