"""The history, opened once and behind the first frame."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from localchat.errors import LocalchatError
from localchat.paths import Paths

if TYPE_CHECKING:
    from localchat.store.store import Store


class History:
    """Whoever needs the store waits until it is open."""

    def __init__(self, places: Paths) -> None:
        self.places = places
        self._opening = threading.Lock()
        self._store: Store | None = None
        self._is_closed = False

    def store(self) -> Store:
        """Blocks while it is opened. Raises HistoryFailed and what else opening raises."""
        with self._opening:
            if self._store is None:
                if self._is_closed:
                    raise LocalchatError("The screen is being closed.")
                from localchat.store.store import Store  # 10 ms, after the first frame

                self._store = Store.open(self.places)
            return self._store

    def look_after(self) -> Sequence[str]:
        """Checks the file once a day, as commands do. Returns what there is to know about it."""
        store = self.store()
        if store.is_check_due:
            store.check()
        return store.notes

    def close(self) -> None:
        """Replies that were not finished are incomplete from now on."""
        with self._opening:
            self._is_closed = True
            if self._store is not None:
                self._store.close()
                self._store = None
