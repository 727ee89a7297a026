"""A place in a GGUF file that moves forward, in few reads and never beyond the end of the file.

The file may be anybody's and may lie on another machine: every length is checked against what is
left of the file, and what is read and walked through has a limit. Knows the encoding of single
values; what they mean is `localchat.gguf`'s.
"""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import BinaryIO

from localchat.errors import ModelLoadFailed

Scalar = bool | int | float | str

STRING, ARRAY = 8, 9
"""Types of values that are not of one size."""

_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_WIDTHS = {kind: struct.calcsize(f"<{form}") for kind, form in _FORMATS.items()}
_LAYOUTS = {
    order: {form: struct.Struct(order + form) for form in _FORMATS.values()} for order in "<>"
}
_LENGTH = 8  # bytes of a number that says how long something is


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be done to find something in a file."""

    strings: int
    """In all lists together that are walked through: some 0.2 ms a thousand."""
    size: int
    """Bytes read in all."""
    block: int
    """Bytes of one read, if it takes no more."""


class Cursor:
    """Begins at the start of the seekable `file`, whose `size` is in bytes.

    Every method raises ModelLoadFailed where the file ends too early or the budget is used up.
    """

    def __init__(self, file: BinaryIO, size: int, budget: Budget) -> None:
        self._file = file
        self._size = size
        self._block = budget.block
        self._strings_left = budget.strings
        self._bytes_left = budget.size
        self._start = 0  # where the buffer begins in the file
        self._buffer = b""
        self._at = 0  # in the buffer; beyond its end after something was skipped
        file.seek(0)
        self.use_order("<")

    def use_order(self, order: str) -> None:
        """The byte order of all numbers, as `struct` writes it."""
        self._order = order
        self._layouts = _LAYOUTS[order]
        self._unpack_length = self._layouts["Q"].unpack_from

    @property
    def left(self) -> int:
        """Bytes between this place and the end of the file."""
        return self._size - self._start - self._at

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = self._at + count
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def skip(self, count: int) -> None:
        """Moves on; what is skipped is not read."""
        if count > self.left:
            raise _ends()
        self._at += count

    def skip_strings(self, count: int) -> None:
        if count > self._strings_left:
            raise ModelLoadFailed(f"its header has a list of {count:,} strings")
        self._strings_left -= count
        while count:
            count -= self._skip_buffered_strings(count)
            if self.left < 0:
                raise ModelLoadFailed("its header has a string that goes beyond the file's end")
            if count:
                self._fill(_LENGTH)

    def _skip_buffered_strings(self, count: int) -> int:
        """Skips at most `count` strings whose lengths are in the buffer; returns how many."""
        unpack_length, buffer, at = self._unpack_length, self._buffer, self._at
        skipped = 0
        with contextlib.suppress(struct.error, OverflowError):  # the next length isn't there
            for skipped in range(count):  # noqa: B007 - known if it is cut short
                at += _LENGTH + unpack_length(buffer, at)[0]
            skipped = count
        self._at = at
        return skipped

    def number(self, form: str) -> int:
        """A whole number of the type that `struct` calls `form`."""
        layout = self._layouts[form]
        if self._at + layout.size > len(self._buffer):
            self._fill(layout.size)
        value = layout.unpack_from(self._buffer, self._at)[0]
        self._at += layout.size
        return int(value)

    def values(self, kind: int, count: int) -> tuple[Scalar, ...]:
        """So many values of a type that has a fixed size."""
        data = self.take(count * width(kind))
        return struct.unpack(f"{self._order}{count}{_FORMATS[kind]}", data)

    def length(self, width: int) -> int:
        """A length, of elements at least `width` bytes wide, that the rest of the file can hold."""
        length = self.number("Q")
        if length * width > self.left:
            raise ModelLoadFailed(f"its header claims {length:,} values beyond the end of the file")
        return length

    def _fill(self, count: int) -> None:
        """Reads on until `count` bytes from this place on are in the buffer."""
        if count > self.left:
            raise _ends()
        skipped = self._at > len(self._buffer)
        self._start += self._at
        self._buffer = self._buffer[self._at :]
        self._at = 0
        if skipped:
            self._file.seek(self._start)
        while len(self._buffer) < count:
            beyond = self._start + len(self._buffer)
            wanted = min(max(self._block, count - len(self._buffer)), self._size - beyond)
            if wanted > self._bytes_left:
                raise ModelLoadFailed("its header is too long")
            self._bytes_left -= wanted
            data = self._file.read(wanted)
            if not data:
                raise _ends()
            self._buffer += data


def width(kind: int) -> int:
    """Bytes of a value of this type. Raises ModelLoadFailed for a type without a fixed size.

    Arrays of arrays are not a thing llama.cpp reads.
    """
    if kind not in _WIDTHS:
        raise ModelLoadFailed(f"its header has a value of the unknown type {kind}")
    return _WIDTHS[kind]


def _ends() -> ModelLoadFailed:
    return ModelLoadFailed("it ends within its header")
