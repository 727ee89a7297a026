"""CSV and TSV with a header: a row may go over several lines, if they are within quotes.

A quote that is never closed would make one row of all that follows. So a row is bounded, and what
was read for one that has no end is read again, but for its first line.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from localchat.batch.readers.jsonl import TOO_LONG
from localchat.batch.readers.lines import MAX_ROW, Line
from localchat.batch.readers.plain import NUL
from localchat.batch.record import Record
from localchat.errors import InputError


class Table:
    """`columns` are those of the header, which is read at once."""

    def __init__(self, lines: Iterable[Line], name: str, delimiter: str) -> None:
        """Raises InputError if there is no header, or one that can't be told apart."""
        # The library's own bound, which is one of the process, is 128 KiB a field.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))
        self._delimiter = delimiter
        self._lines = iter(lines)
        self._again: deque[Line] = deque()
        header = next(self._rows(), None)
        if header is None or header[2]:
            reason = header[2] if header else "It is empty."
            raise InputError(f"{name} has no header that can be read. {reason}")
        self.columns: list[str] = header[1]
        for column in self.columns:
            if self.columns.count(column) > 1:
                raise InputError(f"{name} has two columns {column!r}.", "Rename one of them.")

    def __iter__(self) -> Iterator[Record]:
        for line, cells, fault in self._rows():
            if not fault and len(cells) != len(self.columns):
                columns_ = "column" if len(cells) == 1 else "columns"
                fault = f"The row has {len(cells)} {columns_}, the header {len(self.columns)}."
            columns = {} if fault else dict(zip(self.columns, cells, strict=True))
            yield Record(line, columns, fault)

    def _rows(self) -> Iterator[tuple[int, list[str], str]]:
        """(Line where it begins, its cells, why it can't be read) of each row that is not blank."""
        while (first := self._next()) is not None:
            if first.data is None:
                yield first.number, [], TOO_LONG
            elif not first.data.isspace():
                yield (first.number, *self._row(first))

    def _row(self, first: Line) -> tuple[list[str], str]:
        taken = [first]
        try:
            cells = next(csv.reader(self._texts(taken), delimiter=self._delimiter, strict=True))
        except _Endless:
            self._again.extendleft(reversed(taken[1:]))
            return [], "The row opens a quote that is not closed."
        except csv.Error as error:
            return [], f"The row is no CSV: {error}."
        text = "".join(cells)
        if "\0" in text:
            return [], NUL
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            return [], "The row is not UTF-8 text."
        return cells, ""

    def _texts(self, taken: list[Line]) -> Iterator[str]:
        """The lines that one row asks for; they are noted in `taken`."""
        size = 0
        while True:
            data = taken[-1].data
            if data is None or (size := size + len(data)) > MAX_ROW:
                raise _Endless
            yield data.decode("utf-8", "surrogateescape")
            following = self._next()
            if following is None:
                raise _Endless
            taken.append(following)

    def _next(self) -> Line | None:
        return self._again.popleft() if self._again else next(self._lines, None)


class _Endless(Exception):
    """A row wants more than it may have, or than there is."""
