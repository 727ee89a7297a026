"""The thread that loads the model and steps the engine, so that the process always listens."""

from __future__ import annotations

import gc
import threading
import traceback
from collections import deque
from collections.abc import Callable

from localchat.engine.load import LoadedEngine, load
from localchat.errors import EngineFailed, LocalchatError
from localchat.events import Event
from localchat.host.delivery import is_text
from localchat.types import LoadOptions, ModelRef

Report = LoadedEngine | LocalchatError | list[Event]


class Worker:
    """Reports, in order: the loaded engine, then lists of events; an error is the last one.

    `wake_listener` is called from the thread after a report was added to `reports`, unless it
    holds nothing but text and `is_watched` says that the listener will look by itself.
    """

    def __init__(
        self,
        model: ModelRef,
        options: LoadOptions,
        log: Callable[[str], None],
        wake_listener: Callable[[], None],
    ) -> None:
        self.reports: deque[Report] = deque()
        self.is_watched = False
        self._model = model
        self._options = options
        self._log = log
        self._wake_listener = wake_listener
        self._has_work = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """There is new work: a request or a cancellation."""
        self._has_work.set()

    def _run(self) -> None:
        try:
            loaded = load(self._model, self._options, self._log)
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
        while True:
            if not engine.has_work:
                self._has_work.wait()
                self._has_work.clear()
                continue
            events = engine.step()
            if events:
                self._report(events)

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        can_wait = self.is_watched and isinstance(report, list) and is_text(report)
        if not can_wait:
            self._wake_listener()
