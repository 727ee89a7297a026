"""One message: what is drawn of it, and that no text makes it take long."""

from __future__ import annotations

import time

import pytest

from localchat.tui.widgets.transcript.attached import folded
from localchat.tui.widgets.transcript.document import markdown_length
from localchat.tui.widgets.transcript.footer import footer
from localchat.tui.widgets.transcript.pace import Pace
from localchat.tui.widgets.transcript.thinking import Thinking
from localchat.tui.widgets.transcript.turn import Turn
from localchat.types import FinishReason, Role
from tests.tui.widgets.transcript.screen import generation, message
from tests.tui.widgets.transcript.test_rendering import HOSTILE

FILE = "notes.txt:\n```\none\ntwo\nthree\nfour\n```"


def texts(turn: Turn, width: int = 40) -> list[str]:
    return [line.content.plain.rstrip() for line in turn.lines(width)]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_no_text_takes_long(name: str, role: Role) -> None:
    turn = Turn(message(1, role, HOSTILE[name]))
    began = time.process_time()
    lines = turn.lines(60)
    # Most take a tenth of it; what is not bounded takes minutes.
    assert time.process_time() - began < 10
    assert len(lines) <= 10_002
    assert all(line.content.cell_length <= 80 for line in lines)


def test_the_end_of_a_very_long_text_is_plain() -> None:
    long = "*word*\n\n" * 1_500
    assert markdown_length(long) == len("*word*\n\n" * 1_000)
    shown = texts(Turn(message(1, "assistant", long)))
    assert shown[:2] == ["word", ""]
    assert shown[-4:-2] == ["*word*", ""]


def test_what_is_not_shown_is_said() -> None:
    shown = texts(Turn(message(1, "user", "a\n" * 20_000)))
    assert shown[-2:] == ["… the rest is not shown, but copied with it", ""]


def test_lines_are_kept_until_something_changes() -> None:
    turn = Turn(message(1, "assistant", "one\n\ntwo"))
    lines = turn.lines(40)
    assert turn.lines(40) is lines
    assert not turn.update(message(1, "assistant", "one\n\ntwo"), ())
    assert turn.lines(40) is lines
    assert turn.update(message(1, "assistant", "one\n\ntwo three"), ())
    assert texts(turn) == ["one", "", "two three", ""]
    assert turn.changed_from == 2


def test_height_is_known_after_the_lines_were_given_back() -> None:
    turn = Turn(message(1, "assistant", "one\n\n```\ntwo\n```"))
    height = len(turn.lines(40))
    turn.forget()
    assert not turn.is_made
    assert turn.height(40) == height
    assert len(turn.lines(40)) == height


@pytest.mark.parametrize(
    ("state", "finish_reason", "error", "limits", "expected"),
    [
        ("complete", "stop", None, {}, ""),
        ("complete", "length", None, {"max_tokens": 20}, "cut off: max tokens"),
        ("complete", "length", None, {"max_tokens": 400}, "cut off: context full"),
        ("complete", "length", None, {}, "cut off: context full"),
        ("incomplete", "cancelled", None, {}, "stopped"),
        ("incomplete", None, None, {}, "incomplete"),
        ("incomplete", None, "It \nhas \x1bended.", {}, "incomplete: It has ended."),
        ("failed", None, "The context is full.", {}, "failed: The context is full."),
        ("failed", None, None, {}, "failed: no reason is known"),
        ("generating", None, None, {}, ""),
    ],
)  # fmt: skip
def test_the_line_beneath_tells_how_it_ended(
    state: str,
    finish_reason: FinishReason | None,
    error: str | None,
    limits: dict[str, int],
    expected: str,
) -> None:
    run = generation(finish_reason, error, **limits)
    reply = message(3, "assistant", "x", state=state, generations=(run,))  # type: ignore[arg-type]
    assert footer(reply, ()) == expected
    assert footer(reply, (1, 3, 8)) == f"2/3  {expected}".rstrip()


def test_siblings_of_what_the_user_wrote_are_told_too() -> None:
    assert texts(Turn(message(3, "user", "Hi."), (2, 3))) == ["Hi.", "2/2", ""]


def test_files_are_folded_to_a_line() -> None:
    turn = Turn(message(1, "user", f"{FILE}\n\nWhat is this?"))
    assert texts(turn) == ["▸ notes.txt, 4 lines", "What is this?", ""]
    turn.fold()
    assert texts(turn)[:3] == ["notes.txt:", "```", "one"]
    assert [text for text, _ in folded("a.py:\n```\nshort\n```", unfold=False)] == [
        "a.py:\n```\nshort\n```"
    ]
    assert list(folded("", unfold=False)) == [("", False)]


def test_a_thought_is_told_by_its_last_line() -> None:
    now = [10.0]
    thinking = Thinking(clock=lambda: now[0])
    assert thinking.head("x", 30, is_open=False) == "▸ Thought"
    thinking.follow("one\ntwo", False, 5)
    assert thinking.head("one\ntwo ", 30, is_open=False) == "▸ Thinking · 5 tokens · two"
    folded_long = "▸ Thinking · 5 tokens · two t…"
    assert thinking.head("one\n" + "two " * 9, 30, is_open=False) == folded_long
    assert thinking.head("one", 30, is_open=True) == "▾ Thinking · 5 tokens"
    now[0] = 85.4
    thinking.follow("one\ntwo", True, 9)
    assert thinking.head("one\ntwo", 30, is_open=False) == "▸ Thought for 1 min 15 s"


def test_a_thought_that_was_stopped_no_longer_runs() -> None:
    thinking = Thinking(clock=lambda: 1.0)
    thinking.follow("hm", False, 5)
    thinking.stop()
    assert thinking.head("hm", 30, is_open=False) == "▸ Thought for 1 s"


def test_updates_take_a_fifth_of_a_core() -> None:
    pace = Pace()
    assert pace.wait(100.0) == 0
    pace.spent(100.0, 0.03)
    assert pace.wait(100.03) == pytest.approx(0.12)
    assert pace.wait(101.0) == 0
    pace.spent(101.0, 0.001)
    assert pace.wait(101.0) == pytest.approx(0.05)


def test_a_link_that_is_defined_later_becomes_one() -> None:
    text = "See [a].\n\nMore.\n\n- b\n\n[a]: http://b\n"
    growing = Turn(message(1, "assistant", "", state="generating"))
    for end in range(len(text) + 1):
        growing.grow(text[:end], "", end)
        growing.lines(40)
    once = Turn(message(1, "assistant", text)).lines(40)
    assert len(growing.lines(40)) == len(once)
    for line, expected in zip(growing.lines(40), once, strict=True):
        assert line.content.is_same(expected.content)
    assert once[0].content.spans
