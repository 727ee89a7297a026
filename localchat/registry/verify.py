"""Says what a file's content is, and whether it may have changed since that was last asked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


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


def sha256(path: Path) -> str:
    """Digest of the whole content, 64 lower-case hexadecimal digits. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(path: Path, size: int, digest: str) -> bool:
    """Whether `path` is a regular file of `size` bytes with this sha256. Raises OSError."""
    return path.is_file() and path.stat().st_size == size and sha256(path) == digest
