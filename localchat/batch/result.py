"""What a script gets of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localchat.answer_form import AnswerForm
from localchat.batch.journal import Entry
from localchat.batch.outcome import Completion, RowError
from localchat.types import Usage


@dataclass(frozen=True, slots=True)
class Result:
    """A finished row. Either it has `completions`, or an `error`."""

    number: int
    """Among the rows of the input, from 1."""
    line: int
    """Where the row begins in the input, from 1."""
    custom_id: str
    """The row's own, or line-N."""
    columns: Mapping[str, Any]
    """The row itself."""
    completions: tuple[Completion, ...]
    value: Any
    """With a schema: the answer's JSON value, or the pydantic model made of it."""
    probabilities: Mapping[str, float]
    """With choices: of each among them."""
    usage: Usage
    error: RowError | None

    @property
    def text(self) -> str | None:
        """The answer, or the first of several; None if there is none."""
        return self.completions[0].text if self.completions else None


def of(entry: Entry, form: AnswerForm | None) -> Result:
    """Of a finished row that an answer of this `form` was asked for."""
    came = entry.outcome
    value = form.check(came.completions[0].text) if form and came.completions else None
    return Result(
        entry.number,
        entry.line,
        entry.custom_id,
        json.loads(entry.source),
        came.completions,
        value,
        dict(came.scores),
        came.usage,
        came.error,
    )
