"""Reads rows out of a damaged file, page by page: SQLite gives up at the first fault.

Rows of tables are in leaf pages, each of which can be read by itself: neither the schema nor the
pages that lead there are needed. See "Database File Format" in SQLite's documentation.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from localchat.store.connection import PAGE_SIZE

Value = int | float | str | bytes | None
Row = tuple[Value, ...]

_TABLE_LEAF = 0x0D
_FILE_HEADER = 100  # bytes, before what is on the first page
_WAL_HEADER = 32
_FRAME_HEADER = 24
_MOST_LOCAL = PAGE_SIZE - 35
_LEAST_LOCAL = (PAGE_SIZE - 12) * 32 // 255 - 23
_WHOLE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of integers, by serial type


class _Damaged(Exception):
    """A row, or a page, is not what it should be."""


def rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(Row id, columns) of every row that can be read, of all tables. Raises OSError."""
    with _Pages(path) as pages:
        for number in range(1, pages.count + 1):
            page = pages.read(number)
            start = _FILE_HEADER if number == 1 else 0
            if len(page) < PAGE_SIZE or page[start] != _TABLE_LEAF:
                continue
            (cells,) = struct.unpack_from(">H", page, start + 3)
            for place in range(start + 8, min(start + 8 + 2 * cells, PAGE_SIZE - 1), 2):
                try:
                    yield _row(pages, page, struct.unpack_from(">H", page, place)[0])
                except (_Damaged, IndexError, struct.error):
                    continue


class _Pages:
    """The pages as they were last committed: in the file, or in the log beside it."""

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        self.count = -(-os.fstat(self._file.fileno()).st_size // PAGE_SIZE)
        self._log = _open(Path(f"{path}-wal"))
        self._logged: dict[int, int] = {}
        self._find_logged(self._log)

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._log.close()

    def _find_logged(self, log: BinaryIO) -> None:
        """Which pages the log has. It may be damaged itself, so its checksums are not heeded."""
        head = log.read(_WAL_HEADER)
        uncommitted: dict[int, int] = {}
        place = _WAL_HEADER
        end = os.fstat(log.fileno()).st_size - _FRAME_HEADER - PAGE_SIZE
        while place <= end:
            frame = os.pread(log.fileno(), _FRAME_HEADER, place)
            number, count = struct.unpack_from(">II", frame)
            if frame[8:16] != head[16:24]:  # of an earlier round of the log
                break
            uncommitted[number] = place + _FRAME_HEADER
            if count:
                self._logged |= uncommitted
                self.count = count
                uncommitted = {}
            place += _FRAME_HEADER + PAGE_SIZE

    def read(self, number: int) -> bytes:
        """Shorter than a page if it lies beyond the end."""
        if number in self._logged:
            return os.pread(self._log.fileno(), PAGE_SIZE, self._logged[number])
        return os.pread(self._file.fileno(), PAGE_SIZE, (number - 1) * PAGE_SIZE)


def _open(path: Path) -> BinaryIO:
    """The file, or an empty one in its place."""
    return (path if path.exists() else Path(os.devnull)).open("rb")


def _row(pages: _Pages, page: bytes, place: int) -> tuple[int, Row]:
    size, place = _varint(page, place)
    id_, place = _varint(page, place)
    local = size
    if size > _MOST_LOCAL:
        local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE_SIZE - 4)
        if local > _MOST_LOCAL:
            local = _LEAST_LOCAL
    payload = page[place : place + local]
    if size > local:
        (following,) = struct.unpack_from(">I", page, place + local)
        payload += _overflow(pages, following, size - local)
    if len(payload) < size:
        raise _Damaged
    return id_, _record(payload)


def _overflow(pages: _Pages, number: int, size: int) -> bytes:
    """The rest of a row that is longer than a page, `size` bytes."""
    pieces = []
    if size > pages.count * PAGE_SIZE:
        raise _Damaged
    while size > 0:
        page = pages.read(number) if number else b""
        if len(page) < PAGE_SIZE:
            raise _Damaged
        pieces.append(page[4 : 4 + size])
        size -= len(pieces[-1])
        (number,) = struct.unpack_from(">I", page)
    return b"".join(pieces)


def _record(payload: bytes) -> Row:
    end_of_types, place = _varint(payload, 0)
    types = []
    while place < end_of_types:
        type_, place = _varint(payload, place)
        types.append(type_)
    values = []
    for type_ in types:
        value, place = _value(payload, place, type_)
        values.append(value)
    if place != len(payload):
        raise _Damaged
    return tuple(values)


def _value(payload: bytes, place: int, type_: int) -> tuple[Value, int]:
    if type_ == 0:
        return None, place
    if type_ in (8, 9):
        return type_ - 8, place
    if type_ == 7:
        return struct.unpack_from(">d", payload, place)[0], place + 8
    if type_ in _WHOLE:
        end = place + _WHOLE[type_]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if type_ < 12:
        raise _Damaged
    end = place + (type_ - 12) // 2
    if end > len(payload):
        raise _Damaged
    data = payload[place:end]
    return (data.decode("utf-8", "replace") if type_ % 2 else data), end


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """(The number at `place`, the place after it)."""
    value = 0
    for length in range(8):
        byte = data[place + length]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + length + 1
    value = value << 8 | data[place + 8]
    return value - (1 << 64 if value >> 63 else 0), place + 9
