"""The values of a file, one after the other."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.store.formats import json_values
from localchat.store.formats.json_values import Broken, read_values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('ab\n"', max_size=3), inner)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3), max_size=5)


def read(data: str | bytes) -> list[Any]:
    return [*read_values(io.BytesIO(data if isinstance(data, bytes) else data.encode()))]


def reasons(found: list[Any]) -> list[str]:
    return [one.reason for one in found if isinstance(one, Broken)]


@settings(max_examples=40, deadline=None)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans(), st.integers(1, 9))
def test_lists_and_lines_are_read_whatever_a_read_gives(
    values: list[Any], indent: int | None, ascii_: bool, chunk: int
) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK", chunk)
        assert read(json.dumps(values, indent=indent, ensure_ascii=ascii_)) == values
        assert read("\n".join(texts)) == values
        assert read("\ufeff" + "\n\n".join(texts) + "\n") == values


@pytest.mark.parametrize("empty", ["", " \n", "[]", " [ ] \n"])
def test_nothing_is_in_an_empty_file(empty: str) -> None:
    assert read(empty) == []


def test_a_bad_line_is_left_out() -> None:
    found = read('{"a": 1}\n{"a": nope}\nplain words\n{"a": "b\n{"a": 2}\n')
    assert [one for one in found if not isinstance(one, Broken)] == [{"a": 1}, {"a": 2}]
    assert len(reasons(found)) == 3
    assert all(reason.startswith("is no JSON") for reason in reasons(found))


@pytest.mark.parametrize(
    ("text", "whole", "reason"),
    [
        (
            '[{"a": 1}, {"a": nope}, {"b": "and more"}]',
            1,
            "is no JSON: Expecting value; nothing behind it",
        ),
        ('[{"a": 1}, {"a": "', 1, "is no JSON, or ends in the middle; nothing behind it"),
        ('[{"a": 1}', 1, "can't be found: the list is not whole"),
        ('[{"a": 1} {"a": 2}]', 1, "can't be found: the list is not whole"),
        ('[{"a": 1},]', 1, "is no JSON"),
        ("[" * 200_000, 0, "is nested too deeply"),
        ("[1e999999, NaN]", 1, "has a number that can't be read"),
        ('[{"a": ' + "9" * 5000 + "}]", 0, "has a number that can't be read"),
        ("[{}] []", 1, "stands behind the end of the list"),
    ],
)
def test_what_follows_a_bad_element_is_given_up(text: str, whole: int, reason: str) -> None:
    found = read(text)
    assert len(found) == whole + 1
    assert reasons(found)[0].startswith(reason)


def test_bytes_that_are_no_text_spoil_one_value() -> None:
    for text in (b'[{"a": "\xff"}, {"a": 2}]', b'{"a": "\xff"}\n{"a": 2}'):
        assert read(text) == [Broken("is not UTF-8 text"), {"a": 2}]


def test_halves_of_characters_become_question_marks() -> None:
    assert read(r'[{"\ud800": "\ud83d\ude00 \udc00"}]') == [{"?": "😀 ?"}]


def test_a_value_has_a_longest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "_LONGEST", 200_000)
    long = json.dumps({"a": "x" * 600_000})
    assert [type(one) for one in read(f"[{{}}, {long}, {{}}]")] == [dict, Broken]
    assert [type(one) for one in read(f"{{}}\n{long}\n{{}}\n")] == [dict, Broken, dict]


@pytest.mark.parametrize("is_list", [True, False])
def test_a_large_file_is_not_held_in_memory(tmp_path: Path, is_list: bool) -> None:
    path = tmp_path / "large.json"
    line = json.dumps({"a": "x" * 100_000})
    begin, between, end = ("[", ",\n", "]") if is_list else ("", "\n", "")
    with path.open("w") as file:
        file.write(begin + between.join([line] * 300) + end)
    tracemalloc.start()
    try:
        with path.open("rb") as data:
            values: Iterator[Any] = read_values(data)
            assert sum(len(value["a"]) for value in values) == 30_000_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
