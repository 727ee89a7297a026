"""What the user has deleted, and may still want back for some seconds."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from localchat.errors import LocalchatError


@dataclass(frozen=True, slots=True, eq=False)
class Deletion:
    """Something that is out of sight, and still on the disk."""

    what: str
    """As the user is told: `the chat "Tides"`."""
    carry_out: Callable[[], None]
    """Deletes it for good. Waits for the disk; raises what the store raises."""
    undo: Callable[[], None]
    """Brings it back into sight; as above."""


class Deletions:
    """Nothing is deleted that was undone, and nothing stays that was not."""

    def __init__(self) -> None:
        self._due: list[Deletion] = []
        self._lock = threading.Lock()

    def add(self, deletion: Deletion) -> None:
        with self._lock:
            self._due.append(deletion)

    def undo(self) -> Deletion | None:
        """Brings back what was deleted last; None if there is nothing, or no longer."""
        deletion = self._take(None)
        if deletion is not None:
            try:
                deletion.undo()
            except BaseException:
                self.add(deletion)
                raise
        return deletion

    def carry_out(self, deletion: Deletion) -> None:
        """Deletes it for good, unless it was undone; what can't be is in sight again."""
        if self._take(deletion) is None:
            return
        try:
            deletion.carry_out()
        except BaseException:
            with contextlib.suppress(LocalchatError, OSError):
                deletion.undo()
            raise

    def carry_out_all(self) -> None:
        """When the screen is left. What can't be deleted is still there in the next run."""
        while (deletion := self._take(None)) is not None:
            with contextlib.suppress(LocalchatError, OSError):
                deletion.carry_out()

    def _take(self, deletion: Deletion | None) -> Deletion | None:
        with self._lock:
            if deletion is None:
                return self._due.pop() if self._due else None
            if deletion not in self._due:
                return None
            self._due.remove(deletion)
            return deletion
