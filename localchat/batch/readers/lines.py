"""Lines of a stream, none of them held whole if it is too long."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from localchat.errors import InputError

MAX_ROW = 2**20
"""Bytes of one row; a longer one is an error of that row."""

_CHUNK = 2**16
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    number: int
    """From 1."""
    data: bytes | None
    """With its end of line; None: it is longer than `MAX_ROW`."""


class Lines:
    """The lines of `stream`, without a byte order mark. `sha256` is that of what was read."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Raises InputError for UTF-16."""
        self.sha256 = hashlib.sha256()
        self.position = 0
        """Bytes of the lines that were given out."""
        self._number = 0
        self._stream = io.BufferedReader(_Hashed(stream, self.sha256), _CHUNK)
        start = self._stream.peek(3)[:3]
        if start.startswith(_UTF_16):
            raise InputError(
                f"{name} is UTF-16, not UTF-8.", "Convert it first: iconv -f utf-16 -t utf-8"
            )
        if start == _BOM:
            self.position = len(self._stream.read(3))

    def peek(self) -> bytes:
        """The beginning of what comes next, as far as it is at hand."""
        return self._stream.peek(_CHUNK)

    def __iter__(self) -> Iterator[Line]:
        while data := self._stream.readline(MAX_ROW + 1):
            self._number += 1
            self.position += len(data)
            if len(data) <= MAX_ROW:
                yield Line(self._number, data)
            else:
                self._skip(data)
                yield Line(self._number, None)

    def _skip(self, data: bytes) -> None:
        """Reads on to the end of a line without keeping it."""
        while data and not data.endswith(b"\n"):
            data = self._stream.readline(_CHUNK)
            self.position += len(data)


class _Hashed(io.RawIOBase):
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO, sha256: hashlib._Hash) -> None:
        self._stream = stream
        self._sha256 = sha256

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        # One read of the system's, not as many as fill the buffer: a pipe's rows come one by one.
        read = getattr(self._stream, "read1", self._stream.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        self._sha256.update(data)
        return len(data)
