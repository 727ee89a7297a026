"""The thread that loads the model and steps the engine, so that the process always listens."""

from __future__ import annotations

import gc
import threading
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path

from localchat.engine.load import LoadedEngine, load
from localchat.engine.reports import Report as EngineReport
from localchat.errors import EngineFailed, LocalchatError
from localchat.host.delivery import are_patient, can_wait
from localchat.types import LoadOptions, ModelRef

# Seconds without work after which conversations are saved; and those that writing them may take
# when the process leaves.
_QUIET = 1.0
_WRITING = 3.0

Report = LoadedEngine | LocalchatError | list[EngineReport]


class Worker:
    """Reports, in order: the loaded engine, then lists of events; an error is the last one.

    `wake_listener` is called from the thread after a report was added to `reports`, unless it
    is one that can wait: `is_watched` says that the listener will look by itself soon, `batch`
    names the requests whose progress nobody waits for.
    """

    def __init__(
        self,
        model: ModelRef,
        options: LoadOptions,
        snapshots: Path,
        log: Callable[[str], None],
        wake_listener: Callable[[], None],
    ) -> None:
        self.reports: deque[Report] = deque()
        self.is_watched = False
        self.batch: set[str] = set()
        self._model = model
        self._options = options
        self._snapshots = snapshots
        self._log = log
        self._wake_listener = wake_listener
        self._has_work = threading.Event()
        self._is_leaving = False
        self._loaded: LoadedEngine | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """There is new work: a request or a cancellation."""
        self._has_work.set()

    def leave(self, seconds: float) -> None:
        """Ends all requests and saves conversations, for at most `seconds`; nothing is reported."""
        if self._loaded is None:
            return
        self._is_leaving = True
        self._loaded.engine.interrupt()
        self._has_work.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._loaded = loaded = load(self._model, self._options, self._log, self._snapshots)
            gc.freeze()  # what is there now stays: no collection need look at it between tokens
            self._report(loaded)
            self._step_forever(loaded)
        except LocalchatError as error:
            self._report(error)
        except Exception as error:
            # A fault of ours: the log gets the traceback, every waiting client a sentence.
            for line in traceback.format_exc().splitlines():
                self._log(line)
            self._report(EngineFailed(f"The engine failed: {type(error).__name__}: {error}."))

    def _step_forever(self, loaded: LoadedEngine) -> None:
        engine = loaded.engine
        patience: float | None = _QUIET
        while not self._is_leaving:
            if engine.has_work:
                patience = _QUIET
                events = engine.step()
                if events:
                    self._report(events)
            elif self._has_work.wait(patience):
                self._has_work.clear()
            else:
                patience = 0.0 if engine.tidy() else None
        engine.close(_WRITING)

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        waits = can_wait if self.is_watched else are_patient
        if not (isinstance(report, list) and waits(report, self.batch)):
            self._wake_listener()
