"""Plain text: each line that is not blank is a row with the one column `text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from localchat.batch.readers.jsonl import TOO_LONG
from localchat.batch.readers.lines import Line
from localchat.batch.record import Record

NUL = "The row has a NUL byte, so it is no text."


def read(lines: Iterable[Line]) -> Iterator[Record]:
    for number, data in lines:
        if data is None:
            yield Record(number, {}, TOO_LONG)
        elif not data.isspace():
            yield _record(number, data)


def _record(number: int, data: bytes) -> Record:
    try:
        text = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Record(number, {}, f"The row is not UTF-8 text (its byte {error.start + 1:,}).")
    return Record(number, {}, NUL) if "\0" in text else Record(number, {"text": text})
