from __future__ import annotations

import pytest

from localchat.batch.template import MissingColumn, Template
from localchat.errors import UsageError


def test_columns_are_filled_in() -> None:
    columns = {"text": "{x}", "a.b": 1, "with space": None, "list": ["é"]}
    template = Template("{{{text}}} {a.b} {with space} {list}")
    assert template.columns == ["text", "a.b", "with space", "list"]
    assert template.fill(columns) == '{{x}} 1 null ["é"]'


def test_a_missing_column_is_named() -> None:
    with pytest.raises(MissingColumn, match="The row has no column 'text'"):
        Template("Say {text}").fill({"txt": "x"})


@pytest.mark.parametrize("text", ["{", "}", "{}", "{x!r}", "{x:>10}", "{x", "{x[}{"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no template"):
        Template(text)


@pytest.mark.parametrize("text", ["{x.__class__}", "{x[0]}", "{0}"])
def test_nothing_is_looked_up_within_a_value(text: str) -> None:
    with pytest.raises(MissingColumn):
        Template(text).fill({"x": "abc"})
