"""Titles are made from what the user said first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.store.title import title_of


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("\n\n  Why  is\tit? \nBecause.", "Why is it?"),
        ("## A heading\ntext", "A heading"),
        ("> - quoted", "quoted"),
        ("```\nint main() {\n```\n\nExplain this.", "Explain this."),
        ("~~~c\nint main() {\n```\n~~~\nExplain this.", "Explain this."),
        ("````\n```\n````\nExplain this.", "Explain this."),
        ("```\nint main() {\n```\n", "int main() {"),
        ("```\nnever closed", "never closed"),
        ("-----\nText", "Text"),
        ("", "Untitled"),
        ("?!\n…", "Untitled"),
        ("\x1b[31mRed\x1b[0m \u202ealert", "[31mRed[0m alert"),
        ("一二三四五" * 20, "一二三四五" * 11 + "一二三四…"),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 59 + "…"),
        (
            "This is a sentence, rather longer than any title should be, I am afraid",
            "This is a sentence, rather longer than any title should be…",
        ),
        ("short " + "x" * 70, "short " + "x" * 53 + "…"),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert title_of(text) == title


@given(st.text())
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_of(text)
    assert 0 < len(title) <= 60
    assert title == title.strip()
    assert title.isprintable() or "\u2028" not in title
    assert len(title.splitlines()) == 1
