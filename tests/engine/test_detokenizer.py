from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localchat.engine.detokenizer import CompletionText
from localchat.engine.markers import Markers
from localchat.engine.reasoning import Kind

THINK = Markers("<think>", "</think>")
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def feed(completion: CompletionText, parts: list[bytes], kind: Kind = "answer") -> str:
    """All that is said of one kind."""
    said = [*itertools.chain.from_iterable(map(completion.push, parts)), *completion.flush()]
    return "".join(piece for piece_kind, piece in said if piece_kind == kind)


@given(st.binary() | st.text().map(str.encode), st.lists(st.integers(0)))
@example("é€😀".encode(), [1, 2, 3, 4, 5, 6, 7, 8])
@example(b"\xf0\x9f\x98", [1, 2])
@example(b"\xed\xa0\x80a", [1, 2])
@example(b"\xc3(\xe2\x82(\xf0\x9f(", [1, 2, 3, 4, 5, 6, 7])
def test_bytes_cut_anywhere_give_the_completionof_the_whole(data: bytes, cuts: list[int]) -> None:
    expected = data.decode(errors="replace")
    assert feed(CompletionText(), pieces(data, cuts)) == expected
    assert feed(CompletionText(), [bytes([byte]) for byte in data]) == expected


@given(st.text("ab\né", max_size=12), STOPS, st.lists(st.integers(0)))
def test_completionends_right_before_a_stop_string(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    completion = CompletionText(stop)
    out = feed(completion, pieces(text.encode(), cuts))
    assert completion.stopped == any(s in text for s in stop)
    assert not any(s in out for s in stop)
    if completion.stopped:
        assert any(text.startswith(out + s) for s in stop)
    else:
        assert out == text


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=4), st.lists(st.integers(0)))
def test_one_stop_string_cuts_at_its_first_occurrence(
    text: str, stop: str, cuts: list[int]
) -> None:
    out = feed(CompletionText((stop,)), pieces(text.encode(), cuts))
    assert out == text.partition(stop)[0]


@given(st.text("ab", max_size=12), STOPS)
def test_no_more_is_held_back_than_a_stop_string_could_need(
    text: str, stop: tuple[str, ...]
) -> None:
    completion = CompletionText(stop)
    out = completion.push(text.encode())
    if not completion.stopped:
        held = text.removeprefix("".join(piece for _, piece in out))
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
    assert feed(CompletionText(stop), parts) == expected


def test_completionheld_back_comes_out_at_the_end() -> None:
    completion = CompletionText(("</s>",))
    assert completion.push(b"a</s") == [("answer", "a")]
    assert completion.flush() == [("answer", "</s")]
    assert completion.flush() == []


def test_a_character_cut_off_at_the_end_becomes_a_replacement_character() -> None:
    completion = CompletionText()
    assert completion.push("é".encode()[:1]) == []
    assert completion.flush() == [("answer", "\N{REPLACEMENT CHARACTER}")]


def test_stop_strings_count_in_the_answer_alone() -> None:
    said = "<think>One. Stop. Two.</think>\n\nThree. Stop. Four."
    for parts in ([said.encode()], [bytes([byte]) for byte in said.encode()]):
        assert feed(CompletionText(("Stop",), THINK), parts, "reasoning") == "One. Stop. Two."
        completion = CompletionText(("Stop",), THINK)
        assert feed(completion, parts) == "Three. "
        assert completion.stopped


def test_a_marker_completes_no_stop_string() -> None:
    completion = CompletionText(("think>",), THINK)
    assert feed(completion, [b"<think>a</think>b"]) == "b"
    assert not completion.stopped


def test_nothing_comes_after_a_stop_string() -> None:
    completion = CompletionText(("x",), THINK, inside=True)
    assert completion.is_reasoning
    assert completion.push(b"a</think>bxc") == [("reasoning", "a"), ("answer", "b")]
    assert completion.stopped
    assert not completion.is_reasoning
    assert completion.push(b"d") == []
    assert completion.flush() == []


def test_a_character_split_over_a_marker_is_lost_for_what_it_is() -> None:
    assert feed(CompletionText((), THINK), [b"<think>\xc3", b"</think>a"], "reasoning") == "\ufffd"
