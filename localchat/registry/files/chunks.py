"""Digests of a file's chunks: what tells, without the network, which part of a model is damaged.

They are taken while a file comes in, or when it is first hashed, and kept beside it. They prove
nothing by themselves: a file is right if the digest of the whole is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 64 * 2**20
"""Bytes of each chunk but the last."""

_READ = 2**20
_DIGEST = 64  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Chunks:
    """`digests` of all chunks of a file of `size` bytes, in order: sha256, hexadecimal."""

    size: int
    digests: tuple[str, ...]

    def damaged(self, other: Chunks) -> list[int]:
        """The numbers of the chunks, from 0, that `other` has not or has with another digest."""
        theirs = dict(enumerate(other.digests))
        return [at for at, digest in enumerate(self.digests) if theirs.get(at) != digest]

    def span(self, number: int) -> tuple[int, int]:
        """Where a chunk begins in the file, and where it ends."""
        return number * CHUNK, min((number + 1) * CHUNK, self.size)

    def dump(self) -> bytes:
        return json.dumps({"size": self.size, "sha256": self.digests}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Chunks:
        """Raises ValueError for anything `dump` does not write."""
        try:
            found = json.loads(data)
            chunks = cls(found["size"], tuple(found["sha256"]))
        except (TypeError, KeyError, RecursionError) as error:
            raise ValueError("not a list of chunks") from error
        if type(chunks.size) is not int or len(chunks.digests) != -(-chunks.size // CHUNK):
            raise ValueError("not as many chunks as the size has")
        if not all(isinstance(each, str) and len(each) == _DIGEST for each in chunks.digests):
            raise ValueError("not all are digests")
        return chunks


class Hasher:
    """Takes a file's bytes in order; knows the digest of the whole and of each chunk."""

    def __init__(self) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._digests: list[str] = []

    def update(self, data: bytes | memoryview) -> None:
        self._whole.update(data)
        rest = memoryview(data)
        while len(rest):
            part = rest[: CHUNK - self.size % CHUNK]
            self._chunk.update(part)
            self.size += len(part)
            rest = rest[len(part) :]
            if self.size % CHUNK == 0:
                self._digests.append(self._chunk.hexdigest())
                self._chunk = hashlib.sha256()

    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._whole.hexdigest()

    def chunks(self) -> Chunks:
        """Of all bytes so far; the last chunk may be shorter."""
        last = [self._chunk.hexdigest()] if self.size % CHUNK else []
        return Chunks(self.size, (*self._digests, *last))


def digest(data: bytes) -> str:
    """Of one chunk: sha256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hash_file(file: BinaryIO, *, most: int | None = None) -> Hasher:
    """Reads an open file from where it stands to its end, or `most` bytes. Raises OSError."""
    hasher = Hasher()
    buffer = memoryview(bytearray(_READ))
    while most is None or hasher.size < most:
        wanted = _READ if most is None else min(_READ, most - hasher.size)
        count = file.readinto(buffer[:wanted])  # type: ignore[attr-defined]
        if not count:
            break
        hasher.update(buffer[:count])
    return hasher


def write(path: Path, found: Chunks) -> None:
    """Keeps the chunks of the model file at `path`. Raises OSError."""
    temporary = location(path).with_suffix(".chunks.tmp")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:  # never into what is there: a link, or a FIFO
        file.write(found.dump())
    temporary.replace(location(path))


def read(path: Path) -> Chunks | None:
    """The chunks that were kept of the model file at `path`; None if there are none to be used."""
    try:
        return Chunks.parse(location(path).read_bytes())
    except (OSError, ValueError):
        return None


def location(path: Path) -> Path:
    """Where the chunks of the model file at `path` are kept."""
    return path.with_suffix(".chunks")
