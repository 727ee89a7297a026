from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.sanitize import clean, escape

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ANY_TEXT = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain é 日本 😀\n\ttext", "plain é 日本 😀\n\ttext"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]52;c;ZXZpbA==\x07", "]52;c;ZXZpbA=="),
        ("\x9b31m\x85\x7f", "31m"),
        ("a\r\nb\x00\x08", "a\nb"),
        ("safe\u202egnp.exe\u2066x\u2069", "safegnp.exex"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
    ],
)
def test_control_characters_are_dropped_and_text_stays(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_escape_shows_what_clean_drops() -> None:
    assert escape("\x1b[0m\u202e\n") == "\\u001b[0m\\u202e\n"


@given(ANY_TEXT)
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    for harmless in (clean(text), escape(text)):
        controls = {c for c in harmless if unicodedata.category(c) == "Cc"}
        assert controls <= {"\n", "\t"}
        assert not {unicodedata.bidirectional(c) for c in harmless} & BIDI_CONTROLS
        harmless.encode()  # no lone surrogates


@given(ANY_TEXT, st.integers(0))
def test_text_may_be_cut_anywhere(text: str, cut: int) -> None:
    at = cut % (len(text) + 1)
    assert clean(text[:at]) + clean(text[at:]) == clean(text)
    assert escape(text[:at]) + escape(text[at:]) == escape(text)


@given(ANY_TEXT)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert escape(escape(text)) == escape(text)
