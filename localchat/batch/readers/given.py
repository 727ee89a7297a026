"""Rows that a program gives, in place of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from localchat.batch.readers.source import Format
from localchat.batch.record import Record


class Given:
    """An input like `localchat.batch.readers.source.Source`, of texts, objects or conversations."""

    name = "The input"
    path = None
    size = mtime_ns = sha256 = None
    position = 0
    format: Format = "jsonl"
    columns: Sequence[str] | None = None

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Record]:
        return (_record(number, row) for number, row in enumerate(self._rows, 1))

    def close(self) -> None:
        """Rows are not ours to close."""


def _record(number: int, row: Any) -> Record:
    if isinstance(row, str):
        return Record(number, {"text": row})
    if isinstance(row, Mapping):
        return Record(number, dict(row))
    if isinstance(row, Sequence):
        return Record(number, {"messages": list(row)})
    return Record(number, {}, "The row is neither a text, a mapping nor a list of messages.")
