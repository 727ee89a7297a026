"""A model file that is still coming in: what is there of it, and what it takes to go on.

Beside `<sha256>.partial` lies `<sha256>.resume`, a few words on where its bytes come from. A file
that an earlier process left is hashed again before it is gone on with: the hash of the whole
decides, so nothing else about it has to be trusted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from localchat.errors import LocalchatError, NetworkNeeded, VerificationFailed
from localchat.registry.files import chunks
from localchat.registry.files.chunks import Hasher

_READ = 2**20


class WrongBytes(VerificationFailed):
    """A source has something else than what is asked of it."""


class OtherFile(WrongBytes):
    """A source says itself, before it sends a byte, that it has another file."""


class NotInParts(NetworkNeeded):
    """A source is in reach, but sends whole files only."""


class Partial:
    """The unfinished file of `expected` bytes that is to become `target`.

    Everything appended is written at once: what a killed process received is not lost.
    """

    def __init__(
        self, target: Path, expected: int, progress: Callable[[int], None] | None = None
    ) -> None:
        """Opens what an earlier try left, or begins. Raises OSError, LocalchatError.

        `progress` is told how many bytes of it have been hashed.
        """
        self.path = target.with_suffix(".partial")
        self.expected = expected
        self.stitched = False
        """Whether its bytes came in more than one piece."""
        self._target = target
        self._notes = target.with_suffix(".resume")
        self._written: dict[str, object] = {}
        self._state: dict[str, object] = {}
        self._hasher = Hasher()
        self._descriptor = _open(self.path)
        try:
            if os.fstat(self._descriptor).st_size > expected:
                os.ftruncate(self._descriptor, 0)
            self._rehash(progress)
        except BaseException:
            os.close(self._descriptor)
            raise

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

    @property
    def marks(self) -> list[int]:
        """The sizes it had after each of the pieces that the source sends whole."""
        found = self._state.get("marks")
        sizes = found if isinstance(found, list) else []
        return [size for size in sizes if type(size) is int and 0 < size <= self.size]

    def begin(self, source: str) -> None:
        """From now on bytes come from `source`; what it said about earlier ones holds again."""
        self._written = _read(self._notes)
        is_same = self._written.get("source") == source
        self._state = dict(self._written) if is_same else {"source": source}
        self.stitched = self.size > 0

    def remember(self, validator: str | None) -> None:
        """Bytes follow; their source calls its version this: a later try asks for the same."""
        self.stitched = self.size > 0
        self._note("validator", validator)

    def append(self, data: bytes) -> None:
        """Takes in the next bytes. Raises WrongBytes beyond the expected size, OSError."""
        if self.size + len(data) > self.expected:
            raise WrongBytes(_refusal(f"it is longer than {self.expected} bytes"))
        rest = memoryview(data)
        while len(rest):
            rest = rest[os.write(self._descriptor, rest) :]
        self._hasher.update(data)

    @contextlib.contextmanager
    def piece(self) -> Iterator[Callable[[bytes], None]]:
        """Takes in what a source sends whole or not at all, in as many calls as that takes.

        It follows the last such piece: what else is there goes, but not before something came.
        """
        start = max(self.marks, default=0)
        is_begun = False

        def take(data: bytes) -> None:
            nonlocal is_begun
            if not is_begun:
                self.cut(start)
                is_begun = True
            self.append(data)

        try:
            yield take
        except BaseException:
            if is_begun:
                self.cut(start)
            raise
        self._note("marks", [*self.marks, self.size])

    def restart(self) -> None:
        """Forgets all bytes, and what was said about them."""
        self.cut(0)
        self._state = {"source": self._state.get("source")}
        self.stitched = False

    def cut(self, size: int) -> None:
        """Forgets all bytes but the first `size`."""
        if size < self.size:
            os.ftruncate(self._descriptor, size)
            self._rehash()

    def finish(self, sha256: str) -> None:
        """Gives the file its name if its bytes are right; it is on disk to stay then.

        Raises WrongBytes, OSError.
        """
        if self.size < self.expected:
            raise WrongBytes(_refusal(f"it ends after {self.size} of {self.expected} bytes"))
        if self._hasher.sha256() != sha256:
            raise WrongBytes(_refusal("its sha256 is another"))
        os.fsync(self._descriptor)
        chunks.write(self._target, self._hasher.chunks())
        self._notes.unlink(missing_ok=True)
        # Engines map the file: nobody may write into it, it is only ever replaced.
        os.fchmod(self._descriptor, 0o444)
        self.path.replace(self._target)
        sync_folder(self._target.parent)

    def settle(self) -> int:
        """The fetch ended early. How many bytes a later one goes on from; none leave no file."""
        if not self.size:
            self.discard()
        return self.size

    def discard(self) -> None:
        """Nothing of it is worth keeping."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _rehash(self, progress: Callable[[int], None] | None = None) -> None:
        self._hasher = Hasher()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while data := os.read(self._descriptor, _READ):  # which leaves it where bytes are added
            self._hasher.update(data)
            if progress is not None:
                progress(self.size)

    def _note(self, key: str, value: object) -> None:
        self._state[key] = value
        if self._state == self._written:
            return
        # Only a hint, that may be torn or missing: then it is asked without a validator, or from
        # the first piece on.
        with contextlib.suppress(OSError, LocalchatError):
            descriptor = _open(self._notes)
            try:
                os.ftruncate(descriptor, os.write(descriptor, json.dumps(self._state).encode()))
            finally:
                os.close(descriptor)
            self._written = dict(self._state)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power loss. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, more: int = os.O_CREAT) -> int:
    """Opens a file of our own, never one behind a link; makes it if there is none."""
    flags = os.O_RDWR | more | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _foreign(path) from error
        if error.errno != errno.EACCES or not path.is_file():
            raise
        # Its process was killed just before it gave the file, read-only by then, its name.
        path.chmod(0o600)
        descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(descriptor)
        raise _foreign(path)
    return descriptor


def _foreign(path: Path) -> LocalchatError:
    return LocalchatError(f"{path} is not a file of yours.", f"rm {shlex.quote(str(path))}")


def _read(notes: Path) -> dict[str, object]:
    try:
        with open(_open(notes, 0), "rb") as file:
            found = json.load(file)
    except (OSError, LocalchatError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(reason: str) -> str:
    return f"The downloaded file is not the right one ({reason}); it was not kept."
