from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.markers import HARMONY, Markers, budget_end
from localchat.engine.reasoning import ReasoningParser

THINK = Markers("<think>", "</think>")
WRAPPED = Markers("<think>", "</think>", answer_start="<response>", answer_end="</response>")
APRIEL = Markers("Steps:", "[BEGIN]", answer_end="[END]")
FAMILIES = [None, THINK, WRAPPED, APRIEL, HARMONY]


def split(*pieces: str, markers: Markers | None = THINK, inside: bool = False) -> tuple[str, str]:
    """What a completion that comes in these pieces thinks, and what it answers."""
    parser = ReasoningParser(markers, inside=inside)
    texts = [*itertools.chain.from_iterable(map(parser.push, pieces)), *parser.flush()]
    assert all(text for _, text in texts)
    thought = "".join(text for kind, text in texts if kind == "reasoning")
    return thought, "".join(text for kind, text in texts if kind == "answer")


@pytest.mark.parametrize(
    ("completion", "thought", "answer"),
    [
        ("Hi.\n", "", "Hi.\n"),
        ("\n  Hi.", "", "\n  Hi."),
        ("", "", ""),
        ("<think>\nHm.\n</think>\n\nHi.\n", "Hm.", "Hi.\n"),
        ("\n<think>Hm.</think>Hi.", "Hm.", "Hi."),
        ("<think>\n\na\n\nb\n\n</think>\n\n    code", "a\n\nb", "    code"),
        ("<think>\n\n</think>\n\nHi.", "", "Hi."),
        ("<think></think>", "", ""),
        ("<think>Hm. \n</think", "Hm. \n</think", ""),
        ("<think>Hm.\n\n", "Hm.", ""),
        ("<think>\n\n", "", ""),
        ("<think>a</think>\n\n", "a", ""),
        ("<think>a</think>\n<think>\nb\n</think>\nHi.", "a\n\nb", "Hi."),
        ("<think><think>\na</think>Hi.", "a", "Hi."),
        ("</think>\n\nHi.", "", "Hi."),
        ("<thin", "", "<thin"),
        ("<thinking>Hi.", "", "<thinking>Hi."),
        ("Use `<think>a</think>`.", "", "Use `<think>a</think>`."),
        ("```\n<think>\na\n</think>\n```", "", "```\n<think>\na\n</think>\n```"),
        ("<think>a</think>b <think>c</think>", "a", "b <think>c</think>"),
        ("<think>1 < 2 </thi> 3</think>b", "1 < 2 </thi> 3", "b"),
    ],
)
def test_spans_in_front_of_the_answer_are_its_reasoning(
    completion: str, thought: str, answer: str
) -> None:
    assert split(completion) == (thought, answer)
    assert split(*completion) == (thought, answer)


@pytest.mark.parametrize(
    ("completion", "thought", "answer"),
    [
        ("Hm.\n</think>\n\nHi.", "Hm.", "Hi."),
        ("\nHm.", "Hm.", ""),
        ("<think>\nHm.</think>Hi.", "Hm.", "Hi."),
        ("\n\n</think>\nHi.", "", "Hi."),
    ],
)
def test_a_completion_may_begin_inside_a_span(completion: str, thought: str, answer: str) -> None:
    assert split(completion, inside=True) == (thought, answer)
    assert split(*completion, inside=True) == (thought, answer)


@pytest.mark.parametrize(
    ("completion", "thought", "answer"),
    [
        (
            "<|channel|>analysis<|message|>Hm.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>Hi.",
            "Hm.",
            "Hi.",
        ),
        (
            "<|channel|>analysis<|message|>a<|end|>"
            "<|start|>assistant<|channel|>commentary<|message|>b<|end|>"
            "<|start|>assistant<|channel|>final<|message|>Hi.<|end|>",
            "a\n\nb",
            "Hi.",
        ),
        ("<|channel|>final<|message|>Hi.", "", "Hi."),
        ("<|channel|>analysis<|message|>Hm.", "Hm.", ""),
        ("Hi.", "", "Hi."),
    ],
)
def test_channels_of_harmony_other_than_the_final_one_are_reasoning(
    completion: str, thought: str, answer: str
) -> None:
    assert split(completion, markers=HARMONY) == (thought, answer)
    assert split(*completion, markers=HARMONY) == (thought, answer)


@pytest.mark.parametrize(
    ("markers", "completion", "thought", "answer"),
    [
        (WRAPPED, "<think>a</think>\n<response>\nHi.\n</response>\n", "a", "Hi."),
        (WRAPPED, "<response>Hi.</response>", "", "Hi."),
        (WRAPPED, "<response>a</response> b", "", "a</response> b"),
        (WRAPPED, "<response>a</response>\n\n</respon", "", "a</response>\n\n</respon"),
        (WRAPPED, "<think>a</think>An <b>xml</b></response>", "a", "An <b>xml</b></response>"),
        (WRAPPED, "<response></response>", "", ""),
        (APRIEL, "Steps: a\n[BEGIN]\nHi.\n[END]\n", " a", "Hi."),
        (APRIEL, "Hi.\n[END]\n", "", "Hi.\n[END]\n"),
        (None, "<think>a</think>b", "", "<think>a</think>b"),
    ],
)
def test_marks_around_the_answer_are_left_out(
    markers: Markers | None, completion: str, thought: str, answer: str
) -> None:
    assert split(completion, markers=markers) == (thought, answer)
    assert split(*completion, markers=markers) == (thought, answer)


def parts_of(markers: Markers | None) -> list[str]:
    given = markers or THINK
    texts = [given.start, given.end, given.also_start, given.between]
    return [text for text in (*texts, given.answer_start, given.answer_end) if text]


@given(st.data(), st.sampled_from(FAMILIES), st.booleans())
def test_any_split_of_a_completion_gives_the_same(
    data: st.DataObject, markers: Markers | None, inside: bool
) -> None:
    marks = st.sampled_from(parts_of(markers))
    half = st.tuples(marks, st.integers(1, 5)).map(lambda pair: pair[0][: pair[1]])
    text = "".join(data.draw(st.lists(marks | half | st.text("a\n <", max_size=3), max_size=9)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    whole = split(text, markers=markers, inside=inside)
    assert split(*pieces, markers=markers, inside=inside) == whole
    assert split(*text, markers=markers, inside=inside) == whole


@given(st.lists(st.text("ab \n"), max_size=4), st.text("ab \n<", max_size=9))
def test_an_answer_is_never_changed(thoughts: list[str], answer: str) -> None:
    completion = "".join(f"<think>{thought}</think>\n" for thought in thoughts)
    expected = answer.lstrip("\n") if thoughts else answer
    assert split(completion + answer)[1] == expected


def test_text_comes_as_soon_as_it_is_certain() -> None:
    parser = ReasoningParser(THINK)
    assert parser.push("<thi") == []
    assert not parser.is_reasoning
    assert parser.push("nk>\n") == []
    assert parser.is_reasoning
    assert parser.push("a") == [("reasoning", "a")]
    assert parser.push("b\n") == [("reasoning", "b")]
    assert parser.push("c</") == [("reasoning", "\nc")]
    assert parser.push("d") == [("reasoning", "</d")]
    assert parser.push("e</think>\nf") == [("reasoning", "e"), ("answer", "f")]
    assert not parser.is_reasoning
    assert parser.push("<thi") == [("answer", "<thi")]


@pytest.mark.parametrize("markers", [THINK, WRAPPED, APRIEL, HARMONY])
@pytest.mark.parametrize("thought", ["", "a", "a\n"])
def test_the_end_of_a_budget_ends_the_thinking(markers: Markers, thought: str) -> None:
    parser = ReasoningParser(markers)
    parser.push(markers.start + thought)
    assert parser.is_reasoning
    parser.push(budget_end(markers))
    assert not parser.is_reasoning
    assert parser.push("Hi.") == [("answer", "Hi.")]
