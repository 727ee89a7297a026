"""What the user has deleted, and may still want back for some seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


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
            deletion.undo()
        return deletion

    def carry_out(self, deletion: Deletion) -> None:
        """Deletes it for good, unless it was undone."""
        if self._take(deletion) is not None:
            deletion.carry_out()

    def carry_out_all(self) -> None:
        """When the screen is left."""
        while (deletion := self._take(None)) is not None:
            deletion.carry_out()

    def _take(self, deletion: Deletion | None) -> Deletion | None:
        with self._lock:
            if deletion is None:
                return self._due.pop() if self._due else None
            if deletion not in self._due:
                return None
            self._due.remove(deletion)
            return deletion
