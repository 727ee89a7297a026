from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver

from localchat.tui import pastes
from localchat.tui.pastes import PasteParser

START, END = "\x1b[200~", "\x1b[201~"


def read(*chunks: str) -> list[str]:
    """What is made of what the terminal sends: keys by name, pastes as they are."""
    parser = PasteParser()
    found = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            if isinstance(event, events.Paste):
                found.append(f"paste {event.text!r}")
            elif isinstance(event, events.Key):
                found.append(event.key)
    return found


def test_keys_around_a_paste() -> None:
    assert read(f"a{START}one\rtwo{END}b\r") == ["a", "paste 'one\\rtwo'", "b", "enter"]


def test_an_escape_in_pasted_text_presses_no_keys() -> None:
    harmful = "\x1b" + "x" * 40 + "\r\x1b[13u\x1b\x1b"
    assert read(f"{START}{harmful}{END}") == [f"paste {harmful!r}"]


def test_one_paste_after_the_other() -> None:
    assert read(f"{START}a{END}{START}{END}{START}b{END}") == ["paste 'a'", "paste ''", "paste 'b'"]


@given(st.text(max_size=30), st.lists(st.integers(0, 50), max_size=8))
def test_it_does_not_matter_where_it_is_cut(text: str, cuts: list[int]) -> None:
    text = text.replace(END, "").replace("\0", "")
    sent = f"{text}{END}q"
    places = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
    chunks = [sent[start:end] for start, end in itertools.pairwise(places)]
    assert read(START, *chunks) == [f"paste {text!r}", "q"]


def test_a_start_that_is_cut_is_read_by_textual() -> None:
    assert read(START[:3], START[3:], "abc", END, "q") == ["paste 'abc'", "q"]


def test_the_end_of_what_is_sent() -> None:
    assert read("a", "") == ["a"]


def test_applications_read_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_driver, "XTermParser", XTermParser)
    pastes.take_whole()
    assert vars(linux_driver)["XTermParser"] is PasteParser
