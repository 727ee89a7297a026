"""Reads the conversations of a file one by one, whichever of the known formats each is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal, NamedTuple

from pydantic import ValidationError

from localchat.store.formats import chatgpt_import, openai_import, own, own_import
from localchat.store.formats.json_values import Broken, read_values
from localchat.store.records import NewConversation

Format = Literal["auto", "json", "openai", "chatgpt"]
"""auto: the one that each conversation looks to be in."""

_READERS = {
    "json": own_import.from_json,
    "openai": openai_import.from_json,
    "chatgpt": chatgpt_import.from_json,
}


class Unread(NamedTuple):
    """A conversation of the file that can't be imported."""

    number: int
    """Its place in the file, from 1."""
    reason: str
    """Goes on from "conversation N"."""


def read(file: BinaryIO, format_: Format = "auto") -> Iterator[NewConversation | Unread]:
    """The conversations in the order of the file."""
    known: Counter[str] = Counter()
    for number, value in enumerate(read_values(file), 1):
        if isinstance(value, Broken):
            yield Unread(number, value.reason)
            continue
        try:
            found = _READERS[_format_of(value) if format_ == "auto" else format_](value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            yield Unread(number, f"can't be understood{place and f' at {place}'}: {first['msg']}")
        except (ValueError, RecursionError) as error:
            yield Unread(number, str(error) or "is nested too deeply")
        else:
            if found.source and found.source.startswith("openai:"):
                # These have no names: of several that are the same, each is one.
                known[found.source] += 1
                if known[found.source] > 1:
                    found = found._replace(source=f"{found.source}:{known[found.source]}")
            yield found


def _format_of(value: Any) -> Format:
    if isinstance(value, dict):
        if "mapping" in value:
            return "chatgpt"
        if value.get("format") == own.FORMAT:
            return "json"
        if "messages" in value:
            return "openai"
    raise ValueError("is in no format that can be imported")
