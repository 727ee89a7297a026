"""Models on their way in. Of all that the screen does, this alone uses the network."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from localchat.errors import Interrupted, LocalchatError
from localchat.paths import Paths

State = Literal["running", "stopping", "stopped", "failed", "done"]
"""stopping: the user has asked for the end, which the source has not allowed yet."""

_WINDOW = 5.0  # seconds that the rate is an average of
_GLANCE = 0.2  # seconds between two counts: a fast source tells ten thousand times a second


class Download:
    """One model on its way in: written by its thread, read by the screen. The registry's Watcher.

    What ends it early keeps what has come: the next one goes on from there.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        """What was asked for."""
        self.model: str | None = None
        """The name it is installed under, once it is."""
        self.done = 0
        self.total = 0
        """Bytes; 0 until the source has told."""
        self.rate: float | None = None
        """Bytes a second; None as long as it can't be told."""
        self.said = ""
        """The last thing out of the ordinary, in a sentence: why it waits, what it keeps."""
        self.error: LocalchatError | None = None
        """Why there is no model."""
        self._clock = clock
        self._counts: deque[tuple[float, int]] = deque()
        self._is_unwanted = threading.Event()
        self._is_over = threading.Event()

    @property
    def state(self) -> State:
        if self._is_over.is_set():
            if self.model is not None:
                return "done"
            return "failed" if self.error is not None else "stopped"
        return "stopping" if self._is_unwanted.is_set() else "running"

    @property
    def is_over(self) -> bool:
        return self._is_over.is_set()

    @property
    def time_left(self) -> float | None:
        """Seconds; None as long as it can't be told."""
        return (self.total - self.done) / self.rate if self.rate else None

    def stop(self) -> None:
        """Ends it with the next bytes that come; a source that hangs takes a while."""
        self._is_unwanted.set()

    def wait(self, seconds: float) -> None:
        """Returns when it has ended, or after so many seconds."""
        self._is_over.wait(seconds)

    def progress(self, done: int, total: int) -> None:
        """Raises Interrupted, which ends the pull, once it is unwanted."""
        if self._is_unwanted.is_set():
            raise Interrupted("Stopped.")
        now = self._clock()
        if done < self.done:  # it had to start over
            self._counts.clear()
        self.done, self.total = done, total
        if self._counts and now - self._counts[-1][0] < _GLANCE:
            return
        self._counts.append((now, done))
        while now - self._counts[0][0] > _WINDOW:
            self._counts.popleft()
        then, before = self._counts[0]
        self.rate = (done - before) / (now - then) if now > then and done > before else None

    def note(self, text: str) -> None:
        self.said = text

    def run(self, places: Paths, *, offline: bool) -> None:
        """Pulls the model."""
        # 0.2 s, and with a hub's model the hub's own library: who only looks need not pay.
        from localchat.registry.pull import pull

        try:
            self.model = pull(self.name, places, offline=offline, watcher=self).model.name
        except Interrupted:
            return
        except LocalchatError as error:
            self.error = error
        except BaseException:
            self.error = LocalchatError(
                f"The download of {self.name} ended unexpectedly.", f"localchat pull {self.name}"
            )
            raise
        finally:
            self._is_over.set()


class Downloads:
    """All of them, also while nobody looks at them."""

    def __init__(
        self, places: Paths, tell: Callable[[Download], None], *, offline: bool = False
    ) -> None:
        """`tell` is called when one has ended, in its thread. `offline`: none is begun."""
        self.offline = offline
        self._places = places
        self._tell = tell
        self._all: dict[str, Download] = {}

    def start(self, name: str) -> Download:
        """Begins to bring in the model `name`, or goes on with it; one that runs stays."""
        known = self._all.get(name)
        if known is not None and known.state == "running":
            return known
        self._all[name] = download = Download(name)
        threading.Thread(target=self._follow, args=(download,), daemon=True).start()
        return download

    def find(self, name: str) -> Download | None:
        """The last one of that name."""
        return self._all.get(name)

    @property
    def names(self) -> list[str]:
        """What was asked for."""
        return list(self._all)

    def forget_ended(self) -> None:
        """What became of them was seen. Those that were stopped stay: they can go on."""
        self._all = {
            name: each
            for name, each in self._all.items()
            if not each.is_over or each.state == "stopped"
        }

    @property
    def running(self) -> list[Download]:
        return [each for each in self._all.values() if not each.is_over]

    def close(self, seconds: float) -> None:
        """Ends all; returns when they have ended, or after so many seconds."""
        deadline = time.monotonic() + seconds
        for each in self.running:
            each.stop()
        for each in self.running:
            each.wait(max(0.0, deadline - time.monotonic()))

    def _follow(self, download: Download) -> None:
        try:
            download.run(self._places, offline=self.offline)
        finally:
            self._tell(download)
