"""Reads the JSON values of a file one after the other, however large the file is.

The values are the elements of one array, or follow each other, a line each or not. What is broken
is told of, and as much of the rest is read as can be found: after a bad line all that follows,
after a bad element nothing.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

_CHUNK = 2**16  # bytes
_LONGEST = 2**26  # characters of one value
_SPACE = re.compile(r"[ \t\r\n]*")
_NEAR_END = 12  # characters that may be the beginning of an escaped character
# Escapes that, alone, are no character.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of other bytes


class Broken(NamedTuple):
    """In the place of a value that can't be read."""

    reason: str
    """Goes on from "it"."""


def read_values(file: BinaryIO) -> Iterator[Any | Broken]:
    """The values in the order of the file. Numbers have no other values than JSON's."""
    text = _Text(file)
    if text.skip_space() == "[":
        yield from _elements(text)
        return
    while text.skip_space():
        try:
            yield text.decode()
        except _Fault as fault:
            yield Broken(str(fault))
            text.skip_line()


def _elements(text: _Text) -> Iterator[Any | Broken]:
    text.at += 1
    if text.skip_space() != "]":
        while True:
            try:
                yield text.decode()
            except _Fault as fault:
                yield Broken(f"{fault}; nothing behind it can be read")
                return
            if text.skip_space() != ",":
                break
            text.at += 1
            text.skip_space()
    if text.character != "]":
        yield Broken("can't be found: the list is not whole")
        return
    text.at += 1
    if text.skip_space():
        yield Broken("stands behind the end of the list")


class _Fault(ValueError):
    """Something is no JSON."""


class _Text:
    """The part of the file that is in memory; `at` is where reading goes on in it."""

    def __init__(self, file: BinaryIO) -> None:
        # Bytes that are no text spoil the value they are in, not the file.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._file = file
        self._held = ""
        self.at = 0

    @property
    def character(self) -> str:
        """The next one; empty at the end of what is in memory."""
        return self._held[self.at : self.at + 1]

    def skip_space(self) -> str:
        """The next character that is none; empty at the end of the file."""
        while True:
            found = _SPACE.match(self._held, self.at)
            assert found
            self.at = found.end()
            if self.character or not self._fill():
                return self.character

    def skip_line(self) -> None:
        """Goes to the beginning of the next line."""
        while (end := self._held.find("\n", self.at)) < 0:
            self.at = len(self._held)
            if not self._fill():
                return
        self.at = end + 1

    def decode(self) -> Any:
        """The value that begins here, or `Broken` if it has an end at least.

        Raises _Fault, and stays.
        """
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self.at)
            except json.JSONDecodeError as error:
                goes_on = error.msg.startswith("Unterminated") or (
                    error.pos >= len(self._held) - _NEAR_END
                )
                if not goes_on:
                    raise _Fault(f"is no JSON: {error.msg}") from None
            except RecursionError:
                raise _Fault("is nested too deeply") from None
            except ValueError:  # of thousands of digits, or none of JSON's
                raise _Fault("has a number that can't be read") from None
            else:
                return self._finish(value, end)
            if len(self._held) - self.at > _LONGEST:
                raise _Fault(f"is longer than {_LONGEST / 1e6:.0f} million characters")
            if not self._fill():
                raise _Fault("is no JSON, or ends in the middle")

    def _finish(self, value: Any, end: int) -> Any:
        start, self.at = self.at, end
        if _NOT_UTF8.search(self._held, start, end):
            return Broken("is not UTF-8 text")
        if _SURROGATE.search(self._held, start, end):
            text = json.dumps(value, ensure_ascii=False)
            value = json.loads(text.encode("utf-8", "replace"))
        return value

    def _fill(self) -> bool:
        """Reads on; twice as much as is held, so that a long value is not begun too often."""
        held = self._held[self.at :]
        data, more = b"-", ""
        while data and not more:
            data = self._file.read(min(max(_CHUNK, len(held)), _LONGEST))
            more = self._decoder.decode(data, final=not data)
        self._held, self.at = held + more, 0
        return bool(more)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
