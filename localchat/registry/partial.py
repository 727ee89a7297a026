"""A model file that is still coming in: what is there of it, and what it takes to go on.

Beside `<sha256>.partial` lies `<sha256>.resume`, a few words on where its bytes come from. A file
that a killed process left is hashed again before it is gone on with: the hash of the whole decides,
so nothing else about it has to be trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from types import TracebackType

from localchat.errors import LocalchatError
from localchat.registry import chunks
from localchat.registry.chunks import Hasher
from localchat.registry.sources.http import WrongBytes


class Partial:
    """The unfinished file of `expected` bytes that is to become `target`.

    Everything appended is written at once: what a killed process received is not lost.
    """

    def __init__(self, target: Path, expected: int) -> None:
        """Opens what an earlier try left, or begins. Raises OSError, LocalchatError."""
        self.path = target.with_suffix(".partial")
        self.expected = expected
        self.stitched = False
        """Whether its bytes came in more than one piece."""
        self._target = target
        self._notes = target.with_suffix(".resume")
        self._descriptor = _open(self.path)
        self._hasher = Hasher()
        self._state: dict[str, object] = {}
        if os.fstat(self._descriptor).st_size > expected:
            os.ftruncate(self._descriptor, 0)
        self._rehash()

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._hasher.size

    @property
    def validator(self) -> str | None:
        """What the source called its version of the file when it sent these bytes."""
        found = self._state.get("validator")
        return found if isinstance(found, str) else None

    def begin(self, source: str) -> None:
        """From now on bytes come from `source`; what it said about earlier ones holds again."""
        found = _read(self._notes)
        self._state = found if found.get("source") == source else {"source": source}
        self.stitched = self.size > 0

    def append(self, data: bytes) -> None:
        """Takes in the next bytes. Raises WrongBytes beyond the expected size, OSError."""
        if self.size + len(data) > self.expected:
            raise WrongBytes(_refusal(f"it is longer than {self.expected} bytes"))
        rest = memoryview(data)
        while len(rest):
            rest = rest[os.write(self._descriptor, rest) :]
        self._hasher.update(data)

    def restart(self) -> None:
        """Forgets all bytes."""
        self.cut(0)
        self._state = {"source": self._state.get("source")}
        self.stitched = False

    def cut(self, size: int) -> None:
        """Forgets all bytes but the first `size`."""
        if size < self.size:
            os.ftruncate(self._descriptor, size)
            self._hasher = Hasher()
            self._rehash()

    def remember(self, validator: str | None) -> None:
        """Keeps what the source calls this version, for a later try to ask for the same."""
        self.stitched = self.stitched or self.size > 0
        if validator != self.validator or not self._notes.exists():
            self._state["validator"] = validator
            self._write_notes()

    @property
    def marks(self) -> list[int]:
        """The sizes at which the source can go on, where it can't anywhere."""
        found = self._state.get("marks")
        sizes = found if isinstance(found, list) else []
        return [size for size in sizes if isinstance(size, int) and size <= self.size]

    def mark(self) -> None:
        """A source without ranges can go on from here."""
        self._state["marks"] = [*self.marks, self.size]
        self._write_notes()

    def finish(self, sha256: str) -> None:
        """Gives the file its name if its bytes are right; it is on disk to stay then.

        Raises WrongBytes, OSError.
        """
        if self.size < self.expected:
            raise WrongBytes(_refusal(f"it ends after {self.size} of {self.expected} bytes"))
        if self._hasher.sha256() != sha256:
            raise WrongBytes(_refusal("its sha256 is another"))
        # Engines map the file: nobody may write into it, it is only ever replaced.
        os.fchmod(self._descriptor, 0o444)
        os.fsync(self._descriptor)
        chunks.write(self._target, self._hasher.chunks())
        self.path.replace(self._target)
        sync_folder(self._target.parent)
        self._notes.unlink(missing_ok=True)

    def discard(self) -> None:
        """Nothing of it is worth keeping."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def settle(self) -> int:
        """The fetch ended early: keeps what a later one can go on with, and says how many bytes."""
        has_ranges = "validator" in self._state
        kept = self.size if has_ranges else max(self.marks, default=0)
        if not kept:
            self.discard()
        return kept

    def _rehash(self) -> None:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with open(self._descriptor, "rb", buffering=0, closefd=False) as file:
            self._hasher = chunks.hash_file(file)  # leaves the descriptor at the end

    def _write_notes(self) -> None:
        # Only a hint: without it, the next try asks without a validator.
        with contextlib.suppress(OSError):
            temporary = self._notes.with_suffix(".resume.tmp")
            temporary.write_text(json.dumps(self._state), encoding="utf-8")
            temporary.replace(self._notes)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power loss. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Opens a file of our own, never one behind a link; makes it if there is none."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(descriptor)
        raise LocalchatError(f"{path} is not a file of yours.", f"rm {path}")
    return descriptor


def _read(notes: Path) -> dict[str, object]:
    try:
        found = json.loads(notes.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(reason: str) -> str:
    return f"The downloaded file is not the right one ({reason}); it was not kept."
