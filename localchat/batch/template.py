"""The prompt of a row: a text in which `{column}` stands for what the row has there."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from localchat.errors import UsageError


class MissingColumn(ValueError):
    """A row lacks a column that the template names."""


class Template:
    """`{name}` only: no attributes, indexes, conversions or formats. `{{` and `}}` are braces."""

    def __init__(self, text: str) -> None:
        """Raises UsageError, which says what is wrong."""
        self.text = text
        self._parts: list[tuple[str, str | None]] = []
        try:
            for literal, column, form, conversion in string.Formatter().parse(text):
                if column is not None and (not column or form or conversion):
                    raise ValueError("braces hold the name of a column, and nothing else")
                self._parts.append((literal, column))
        except ValueError as error:
            raise UsageError(
                f"The prompt {text!r} is no template: {error}.",
                "Write {column}; for a brace as it is, write {{ or }}.",
            ) from error

    @property
    def columns(self) -> Sequence[str]:
        return [column for _, column in self._parts if column is not None]

    def fill(self, columns: Mapping[str, Any]) -> str:
        """Raises MissingColumn, which names it."""
        pieces = []
        for literal, column in self._parts:
            pieces.append(literal)
            if column is None:
                continue
            if column not in columns:
                raise MissingColumn(f"The row has no column {column!r}.")
            value = columns[column]
            pieces.append(value if isinstance(value, str) else _as_text(value))
        return "".join(pieces)


def _as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
