"""Clients of engines, lent to one reply at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from localchat.client.base import EngineClient
from localchat.config import Settings
from localchat.paths import Paths
from localchat.types import ModelRef


class Engine(NamedTuple):
    """A client of an engine that is ready, and the model it has loaded."""

    client: EngineClient
    model: ModelRef
    quantization: str = ""
    """Of its weights, as far as is known."""


Open = Callable[[str], Engine]
"""Finds a model by its name, and finds or starts its engine. Blocks; raises LocalchatError."""


def opener(settings: Settings, places: Paths) -> Open:
    """Opens engines as the settings have it."""

    def open_(name: str) -> Engine:
        # 40 ms, after the first frame.
        from localchat.client.launcher import open_engine
        from localchat.registry import installed
        from localchat.registry.resolve import resolve
        from localchat.session.loading import load_options

        model = resolve(name, places)
        options = load_options(settings, places)
        record = installed.find(name, places)
        client = open_engine(model, options, settings.keep_alive, places)
        return Engine(client, model, record.quantization if record is not None else "")

    return open_


class Engines:
    """Keeps clients connected, so that engines stay while the screen is open.

    A client's events are read by one thread, so each reply has a client to itself; connecting to
    an engine that runs takes milliseconds.
    """

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._idle: dict[str, list[Engine]] = {}
        self._lock = threading.Lock()

    def lend(self, name: str) -> Engine:
        """A client that nobody else uses. Blocks while a model is loaded; raises LocalchatError."""
        while True:
            with self._lock:
                idle = self._idle.get(name)
                engine = idle.pop() if idle else None
            if engine is None:
                return self._open(name)
            if not engine.client.is_gone:
                return engine
            engine.client.close()

    def has(self, name: str) -> bool:
        """Whether a client can be lent at once."""
        with self._lock:
            return bool(self._idle.get(name))

    def give_back(self, name: str, engine: Engine) -> None:
        """After its reply has ended, well or not."""
        if engine.client.is_gone:
            engine.client.close()
            return
        with self._lock:
            self._idle.setdefault(name, []).append(engine)

    @contextmanager
    def lent(self, name: str) -> Iterator[Engine]:
        """Lends one for a block."""
        engine = self.lend(name)
        try:
            yield engine
        finally:
            self.give_back(name, engine)

    def let_go(self, name: str) -> None:
        """Leaves the engine of a model that is not chatted with any more."""
        with self._lock:
            left = self._idle.pop(name, [])
        for engine in left:
            engine.client.close()

    def close(self) -> None:
        """Leaves all engines that are not lent."""
        for name in list(self._idle):
            self.let_go(name)
