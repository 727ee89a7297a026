from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.tui.widgets.prompt.chips import Chips, tidy


@pytest.fixture
def chips() -> Chips:
    return Chips(Path("root"))


def test_short_text_is_not_folded(chips: Chips) -> None:
    text = "line\n" * 10
    assert chips.fold(text) == text
    assert chips.fold("x" * 1000) == "x" * 1000


def test_long_text_becomes_a_label_that_stands_for_it(chips: Chips) -> None:
    lines, letters = "line\n" * 240, "x" * 1001
    assert chips.fold(lines) == "[Pasted text #1: 240 lines]"
    assert chips.fold(letters) == "[Pasted text #2: 1,001 characters]"
    text = "a [Pasted text #1: 240 lines] b [Pasted text #2: 1,001 characters]"
    assert chips.expand(text) == f"a {lines} b {letters}"


def test_what_is_pasted_twice_has_one_label(chips: Chips) -> None:
    assert chips.fold("line\n" * 20) == chips.fold("line\n" * 20)


def test_a_label_within_pasted_text_stays(chips: Chips) -> None:
    label = chips.fold("line\n" * 20)
    outer = chips.fold(f"{label}\n" * 20)
    assert chips.expand(outer) == f"{label}\n" * 20


def test_labels_of_nothing_stay_text(chips: Chips) -> None:
    chips.fold("line\n" * 20)
    assert chips.expand("[Pasted text #7: 20 lines]") == "[Pasted text #7: 20 lines]"


@given(st.lists(st.text(min_size=1001, max_size=1100), min_size=1, max_size=4))
def test_refolding_is_the_inverse_of_expanding(pastes: list[str]) -> None:
    chips = Chips(Path())
    text = " and ".join(chips.fold(pasted) for pasted in pastes)
    whole = chips.expand(text)
    assert chips.expand(chips.refold(whole)) == whole
    assert len(chips.refold(whole)) < 1000


def test_a_huge_text_is_one_chip(chips: Chips) -> None:
    huge = "word " * 10_000
    label = chips.refold(huge)
    assert label == "[Pasted text #1: 50,000 characters]"
    assert chips.expand(label) == huge


def test_old_pastes_are_forgotten(chips: Chips) -> None:
    labels = [chips.fold(f"{number}\n" * 20) for number in range(40)]
    chips.shed()
    assert chips.pasted(labels[0]) is None
    assert chips.expand(labels[0]) == labels[0]
    assert chips.expand(labels[39]) == "39\n" * 20


@pytest.mark.parametrize(
    ("text", "is_chip"),
    [
        ("@a.py", True),
        ("see @a.py.", True),
        ("(@a.py)", True),
        ("@a.pyc", False),
        ("@a.py.bak", False),
        ("@a.py/b", False),
        ("me@a.py", False),
    ],
)
def test_where_a_file_is_named(chips: Chips, text: str, is_chip: bool) -> None:
    chips.attach(Path("a.py"))
    assert bool(list(chips.spans(text))) is is_chip
    assert chips.attached(text) == ([Path("root/a.py")] if is_chip else [])


def test_attached_files_come_once_and_in_order(chips: Chips) -> None:
    labels = [chips.attach(Path(name)) for name in ("b", "a", "my notes.md")]
    text = f"{labels[2]} {labels[0]} {labels[1]} {labels[0]}"
    assert chips.attached(text) == [Path("root/my notes.md"), Path("root/b"), Path("root/a")]


def test_names_that_are_written_out_become_chips(chips: Chips) -> None:
    assert chips.adopt("see @a.py, and @b.py or x@a.py", {"a.py"})
    assert chips.attached("@a.py @b.py") == [Path("root/a.py")]
    assert not chips.adopt("@a.py", {"a.py"})


def test_tidy_leaves_one_kind_of_line_end_and_no_controls() -> None:
    assert tidy("a\r\nb\rc\vd\u2028e\tf\x1b[31m\u202eg") == "a\nb\nc\nd\ne\tf[31mg"
