"""One row of the input as it was read, before anybody knows what is to be asked about it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Record(NamedTuple):
    """`columns` are the row's own, by name: of a table, or the keys of a JSON object."""

    line: int
    """Where it begins in the input, from 1."""
    columns: dict[str, Any]
    fault: str = ""
    """Why it can't be read, as a sentence; then it has no columns."""
