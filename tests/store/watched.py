"""SQLite's files, watched: what is written when, and a disk that is full when told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw


class Disk:
    """Every file that SQLite opens meanwhile goes through here."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        """(What was done, the file's name), and what the test notes in between."""
        self.room: int | None = None
        """Writes until the disk is full; None: it has room."""

    def note(self, what: str) -> None:
        self.events.append((what, ""))

    def write(self, name: str) -> None:
        if self.room is not None:
            if not self.room:
                raise apsw.FullError("no space left on device")
            self.room -= 1
        self.events.append(("write", name))


@contextlib.contextmanager
def watched_disk() -> Iterator[Disk]:
    """Until the end, files are opened through a `Disk`."""
    disk = Disk()

    class File(apsw.VFSFile):
        def __init__(self, name: Any, flags: list[int]) -> None:
            filename = name.filename() if isinstance(name, apsw.URIFilename) else name
            self.name = Path(filename or "temporary").name
            super().__init__("unix", name, flags)

        def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
            disk.write(self.name)
            super().xWrite(data, offset)

        def xSync(self, flags: int) -> None:  # noqa: N802
            disk.events.append(("sync", self.name))
            super().xSync(flags)

    class Files(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("watched", "unix", makedefault=True)

        def xOpen(self, name: Any, flags: list[int]) -> File:  # noqa: N802
            return File(name, flags)

    files = Files()
    try:
        yield disk
    finally:
        files.unregister()
