from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localchat.engine.detokenizer import Detokenizer

STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def feed(detokenizer: Detokenizer, parts: list[bytes]) -> str:
    return "".join(map(detokenizer.push, parts)) + detokenizer.flush()


@given(st.binary() | st.text().map(str.encode), st.lists(st.integers(0)))
@example("é€😀".encode(), [1, 2, 3, 4, 5, 6, 7, 8])
@example(b"\xf0\x9f\x98", [1, 2])
@example(b"\xed\xa0\x80a", [1, 2])
@example(b"\xc3(\xe2\x82(\xf0\x9f(", [1, 2, 3, 4, 5, 6, 7])
def test_bytes_cut_anywhere_give_the_text_of_the_whole(data: bytes, cuts: list[int]) -> None:
    expected = data.decode(errors="replace")
    assert feed(Detokenizer(), pieces(data, cuts)) == expected
    assert feed(Detokenizer(), [bytes([byte]) for byte in data]) == expected


@given(st.text("ab\né", max_size=12), STOPS, st.lists(st.integers(0)))
def test_text_ends_right_before_a_stop_string(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    detokenizer = Detokenizer(stop)
    out = feed(detokenizer, pieces(text.encode(), cuts))
    assert detokenizer.stopped == any(s in text for s in stop)
    assert not any(s in out for s in stop)
    if detokenizer.stopped:
        assert any(text.startswith(out + s) for s in stop)
    else:
        assert out == text


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=4), st.lists(st.integers(0)))
def test_one_stop_string_cuts_at_its_first_occurrence(
    text: str, stop: str, cuts: list[int]
) -> None:
    out = feed(Detokenizer((stop,)), pieces(text.encode(), cuts))
    assert out == text.partition(stop)[0]


@given(st.text("ab", max_size=12), STOPS)
def test_no_more_is_held_back_than_a_stop_string_could_need(
    text: str, stop: tuple[str, ...]
) -> None:
    detokenizer = Detokenizer(stop)
    out = detokenizer.push(text.encode())
    if not detokenizer.stopped:
        held = text.removeprefix(out)
        assert not held or any(s.startswith(held) for s in stop)


@pytest.mark.parametrize(
    ("stop", "parts", "expected"),
    [
        (("\n\n",), [b"one\n", b"\ntwo"], "one"),
        (("</s>", "</think>"), [b"a</", b"th", b"ink>b"], "a"),
        (("aab",), [b"aa", b"ab"], "a"),
        (("ab", "b"), [b"xab"], "x"),
        (("é",), [b"x\xc3", b"\xa9y"], "x"),
        (("never",), [b"nev", b"er mind"], ""),
        (("stop", ""), [b"go on"], "go on"),
    ],
)
def test_stop_strings_are_found_across_pieces(
    stop: tuple[str, ...], parts: list[bytes], expected: str
) -> None:
    assert feed(Detokenizer(stop), parts) == expected


def test_text_held_back_comes_out_at_the_end() -> None:
    detokenizer = Detokenizer(("</s>",))
    assert detokenizer.push(b"a</s") == "a"
    assert detokenizer.flush() == "</s"
    assert detokenizer.flush() == ""


def test_a_character_cut_off_at_the_end_becomes_a_replacement_character() -> None:
    detokenizer = Detokenizer()
    assert detokenizer.push("é".encode()[:1]) == ""
    assert detokenizer.flush() == "\N{REPLACEMENT CHARACTER}"


def test_nothing_comes_after_a_stop_string() -> None:
    detokenizer = Detokenizer(("x",))
    assert detokenizer.push(b"ax") == "a"
    assert detokenizer.push(b"more") == ""
    assert detokenizer.flush() == ""
