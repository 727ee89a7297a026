from __future__ import annotations

import pytest
from rich.cells import cell_len

from localchat.tui.widgets.one_line import cut, flat, one_line

HOSTILE = "a\x1b[31mb\x07\u202ec\u2066d\u0085\u2028e\r\n\tf\x9b2J"


def test_one_line_is_harmless_and_on_one_line() -> None:
    assert one_line(HOSTILE) == "a[31mbcd ef2J".replace("ef", "e f")
    assert one_line("  two \n\n words\t") == "two words"


def test_a_title_of_a_megabyte_is_only_begun() -> None:
    assert len(one_line("x" * 1_000_000)) == 1000


def test_flat_is_the_same_wherever_it_is_cut() -> None:
    whole = flat(HOSTILE)
    for place in range(len(HOSTILE)):
        assert flat(HOSTILE[:place]) + flat(HOSTILE[place:]) == whole
    assert "\n" not in whole
    assert "\x1b" not in whole


@pytest.mark.parametrize(
    ("text", "cells", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("two words", 5, "two…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("日本語", 1, "…"),
        ("text", 0, ""),
        ("text", -3, ""),
        ("👩‍👩‍👧‍👦 trip", 3, "👩‍👩‍👧‍👦…"),
    ],
)
def test_cut(text: str, cells: int, expected: str) -> None:
    assert cut(text, cells) == expected
    assert cell_len(cut(text, cells)) <= max(cells, 0)
