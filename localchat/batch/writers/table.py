"""The input's own columns and the added ones: as CSV, TSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from localchat.batch.journal import Entry
from localchat.batch.writers.columns import Added


class TableWriter:
    """CSV, or TSV: with a header."""

    def __init__(self, columns: Sequence[str], added: Added, delimiter: str) -> None:
        self._columns = columns
        self._added = added
        self._delimiter = delimiter
        self.header = self._line([*columns, *added.names])

    def text(self, entry: Entry) -> str:
        source = json.loads(entry.source)
        values = [source.get(name) for name in self._columns]
        return self._line([*values, *self._added.values(entry)])

    def _line(self, values: Sequence[Any]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter, lineterminator="\n").writerow(
            [_cell(value) for value in values]
        )
        return line.getvalue()


class JsonlWriter:
    """An object a row."""

    def __init__(self, plan_added: Added) -> None:
        self._added = plan_added
        self.header = ""

    def text(self, entry: Entry) -> str:
        source = json.loads(entry.source)
        added = zip(self._added.names, self._added.values(entry), strict=True)
        if not source:  # a row that could not be read: what is left to name it by
            source = {"custom_id": entry.custom_id}
        return json.dumps({**source, **dict(added)}, ensure_ascii=False) + "\n"


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
