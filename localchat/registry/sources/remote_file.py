"""Reads a place here and there in a file on a server, as if it were a file of this machine."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from localchat.registry.sources import http
from localchat.registry.sources.address import Remote

BLOCK = 2**16
"""Bytes of one request, at least: most headers are in the first."""


def open_remote(remote: Remote, size: int, note: Callable[[str], None]) -> BinaryIO:
    """The file of `size` bytes. Only what is read is requested, a block or more at a time.

    Reading raises what `http.fetch_range` raises.
    """
    return io.BufferedReader(_Ranges(remote, size, note), buffer_size=BLOCK)


class _Ranges(io.RawIOBase):
    def __init__(self, remote: Remote, size: int, note: Callable[[str], None]) -> None:
        self._remote = remote
        self._size = size
        self._note = note
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = http.fetch_range(self._remote, self._at, stop, self._note)
        buffer[: len(data)] = data
        self._at = stop
        return len(data)
