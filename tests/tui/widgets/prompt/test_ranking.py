from __future__ import annotations

import pytest
from textual.fuzzy import FuzzySearch

from localchat.tui.widgets.prompt.ranking import rank

PATHS = ["README.md", "src/main.py", "docs/readme/old.md", "src/prompt.py", "prompt/src.py"]


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("readme", "README.md"),
        ("prompt", "src/prompt.py"),
        ("srcmain", "src/main.py"),
        ("mpy", "src/main.py"),
        ("old", "docs/readme/old.md"),
    ],
)
def test_the_name_is_worth_more_than_its_folder(query: str, best: str) -> None:
    assert rank(query, PATHS, 5)[0] == best


def test_what_lacks_a_letter_is_left_out() -> None:
    assert rank("xyz", PATHS, 5) == []


def test_without_letters_it_is_the_first() -> None:
    assert rank("", PATHS, 2) == PATHS[:2]


def test_of_equals_the_shorter_comes_first() -> None:
    assert rank("a", ["bb/axx", "bb/ax"], 2) == ["bb/ax", "bb/axx"]


def test_letters_that_fit_in_very_many_ways_are_not_all_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_slow(self: FuzzySearch, query: str, candidate: str) -> None:
        raise AssertionError

    monkeypatch.setattr(FuzzySearch, "match", too_slow)
    name = "ab" * 60
    assert rank("aabb" * 8, [name], 1) == [name]
