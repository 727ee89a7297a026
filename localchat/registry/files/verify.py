"""Says what a file's content is, and whether it may have changed since that was last asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_BLOCK = 2**21


class Stamp(NamedTuple):
    """Differs whenever a file was written to or replaced, without reading it."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Last modification, nanoseconds since the epoch."""
    inode: int


def stamp(path: Path) -> Stamp:
    """The file's stamp. Take it before hashing: a write during the hashing then shows.

    Raises OSError if there is no such file.
    """
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Digest of the whole content, 64 lower-case hexadecimal digits. Raises OSError.

    `progress` is told how many bytes have been read.
    """
    digest = hashlib.sha256()
    done = 0
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            if progress is not None:
                progress(done)
    return digest.hexdigest()


def matches(path: Path, size: int, digest: str) -> bool:
    """Whether `path` is a regular file of `size` bytes with this sha256. Raises OSError."""
    return path.is_file() and path.stat().st_size == size and sha256(path) == digest
