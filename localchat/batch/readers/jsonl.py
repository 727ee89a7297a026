"""JSON Lines: an object, a conversation (a list of messages) or a text on each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from localchat.batch.readers.lines import MAX_ROW, Line
from localchat.batch.record import Record

TOO_LONG = f"The row is longer than {MAX_ROW // 2**20} MiB."


def read(lines: Iterable[Line]) -> Iterator[Record]:
    """A record for each line that is not blank."""
    for number, data in lines:
        if data is None:
            yield Record(number, {}, TOO_LONG)
        elif not data.isspace():
            yield _record(number, data)


def _record(number: int, data: bytes) -> Record:
    try:
        value = json.loads(data.rstrip().decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        return Record(number, {}, f"The row is not UTF-8 text (its byte {error.start + 1:,}).")
    except json.JSONDecodeError as error:
        return Record(number, {}, f"The row is no JSON: {error.msg}, column {error.colno}.")
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep nesting
        return Record(number, {}, f"The row is no JSON that can be used: {error}.")
    match value:
        case dict():
            return Record(number, value)
        case list():
            return Record(number, {"messages": value})
        case str():
            return Record(number, {"text": value})
    return Record(number, {}, "The row is neither an object, a list of messages nor a text.")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number in JSON")
