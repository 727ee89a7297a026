"""What the keys ask for, and what the mouse does."""

from __future__ import annotations

import pytest
from textual.message import Message

from localchat.tui.chats.live import Live
from tests.tui.widgets.transcript.screen import (
    TranscriptApp,
    conversation,
    message,
    settled,
)

CODE = "Two:\n\n```python\na = 1\n```\n\n- in a list\n\n  ```\n  b = 2\n  ```\n"
CHAT = [
    message(1, "system", "Be brief."),
    message(2, "user", "Hi there."),
    message(3, "assistant", "Hello."),
    message(4, "user", "Code?"),
    message(5, "assistant", CODE, reasoning="Which one?\nBoth."),
]


def as_values(messages: list[Message]) -> list[tuple[object, ...]]:
    return [(type(each).__name__, *vars_of(each)) for each in messages]


def vars_of(message: Message) -> list[object]:
    return [getattr(message, name) for name in type(message).__dataclass_fields__]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("c", [("CopyAsked", CODE, "message")]),
        ("y", [("CopyAsked", CODE, "message")]),
        ("up up c", [("CopyAsked", "Code?", "message")]),
        ("k k k e", [("EditAsked", 3)]),
        ("e", [("EditAsked", 5)]),
        ("r", [("RegenerateAsked", 5)]),
        ("up up r", [("RegenerateAsked", 5)]),
        ("g r", []),
        ("o", [("ContinueAsked", 5)]),
        ("left_square_bracket", [("SiblingAsked", 9)]),
        ("left", [("SiblingAsked", 9)]),
        ("right", [("SiblingAsked", 7)]),
        ("up up right", []),
        ("d", [("DeleteAsked", 5)]),
        ("up up delete", [("DeleteAsked", 4)]),
        ("B", [("BranchAsked", 5)]),
        ("up up up up up up up e", [("EditAsked", 1)]),
        ("up up j e", [("EditAsked", 5)]),
        ("up down down e", [("EditAsked", 5)]),
        ("home e G r", [("EditAsked", 1), ("RegenerateAsked", 5)]),
        (
            "b b b",
            [
                ("CopyAsked", "b = 2", "code block 2 of 2"),
                ("CopyAsked", "a = 1", "code block 1 of 2"),
                ("CopyAsked", "b = 2", "code block 2 of 2"),
            ],
        ),
        ("up up b", []),
    ],
)
async def test_keys_ask(keys: str, expected: list[tuple[object, ...]]) -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.show(CHAT, {5: (9, 5, 7)}, None)
        app.transcript.focus()
        await pilot.press(*keys.split())
        await settled(pilot)
        assert as_values(app.asked) == expected


@pytest.mark.parametrize("key", [*"cybeortdBjkgG", "left", "enter", "pageup", "space"])
async def test_keys_do_nothing_where_there_is_no_message(key: str) -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.focus()
        await pilot.press(key)
        await settled(pilot)
        assert app.asked == []


async def test_the_chosen_message_is_marked_while_the_transcript_is_focused() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.show(CHAT, {}, None)
        app.transcript.focus()
        await pilot.press("up", "up")
        await settled(pilot)
        assert [row for row in app.rows if row.startswith("│")] == ["│ ▎ Code?"]
        app.screen.set_focus(None)
        await settled(pilot)
        assert not [row for row in app.rows if row.startswith("│")]


async def test_choosing_brings_into_view() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.show(conversation(60), {}, None)
        app.transcript.focus()
        for _ in range(20):
            await pilot.press("up")
            await settled(pilot)
            assert app.transcript.chosen is not None
            first = app.transcript.chosen.content.split("\n")[0]
            assert any(row[4:] == first for row in app.rows)
        await pilot.press("g")
        await settled(pilot)
        assert "Question 1?" in app.rows[1]
        await pilot.press("G")
        await settled(pilot)
        assert app.transcript.is_following


@pytest.mark.parametrize("keys", ["t", "enter"])
async def test_thinking_is_folded_and_unfolded(keys: str) -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.show(CHAT, {}, None)
        app.transcript.focus()
        await settled(pilot)
        folded = app.rows
        assert "    ▸ Thought" in folded
        await pilot.press(keys)
        await settled(pilot)
        assert app.rows[9:13] == ["    ▾ Thought", "    │ Which one?", "    │ Both.", ""]
        app.transcript.show([*CHAT, message(6, "user", "And?")], {}, None)
        await settled(pilot)
        assert "    │ Both." in app.rows
        await pilot.press("k", "k", keys)
        await settled(pilot)
        assert app.rows[:9] == folded[:9]
        assert "    │ Both." not in app.rows


async def test_a_click_unfolds() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.show(CHAT, {}, None)
        await settled(pilot)
        await pilot.click(app.transcript, offset=(8, app.rows.index("    ▸ Thought")))
        await settled(pilot)
        assert app.rows[9:12] == ["│   ▾ Thought", "│   │ Which one?", "│   │ Both."]
        await pilot.click(app.transcript, offset=(8, 1))
        await settled(pilot)
        assert app.rows[1:3] == ["│   ▾ System prompt", "│     Be brief."]


async def test_a_thought_is_told_of_while_it_runs_and_timed_afterwards() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 12)) as pilot:
        live = Live(1, reasoning="First this.\nThen th")
        live.tokens = 1234
        app.transcript.show([message(1, "assistant", "", state="generating")], {}, live)
        await settled(pilot)
        assert app.rows[1] == "    ▸ Thinking · 1,234 tokens · Then th"
        live.content = "So:"
        app.transcript.show([message(1, "assistant", "", state="generating")], {}, live)
        await settled(pilot)
        assert app.rows[1:4] == ["    ▸ Thought for 1 s", "", "    So:"]


async def test_a_link_is_told_of_and_nothing_is_opened() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 12)) as pilot:
        text = "See [the 'docs'](http://a.example/x'y) or ![a cat](http://b.example/cat.png)."
        app.transcript.show([message(1, "assistant", text)], {}, None)
        await settled(pilot)
        assert app.rows[1] == "    See the 'docs' or a cat."
        await pilot.click(app.transcript, offset=(10, 1))
        await pilot.click(app.transcript, offset=(24, 1))
        await settled(pilot)
        assert as_values(app.asked) == [
            ("LinkChosen", "http://a.example/x'y"),
            ("LinkChosen", "http://b.example/cat.png"),
        ]
        assert app.opened == []


async def test_the_mouse_selects_text_without_bars_and_in_whole_lines() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 20)) as pilot:
        words = "one two three four five six seven eight nine ten"
        chat = [message(1, "user", words), message(2, "assistant", f"- {words}\n- b")]
        app.transcript.show(chat, {}, None)
        await settled(pilot)
        await pilot.mouse_down(app.transcript, offset=(8, 1))
        await pilot.hover(app.transcript, offset=(12, 5))
        await pilot.mouse_up(app.transcript, offset=(12, 5))
        await settled(pilot)
        assert app.screen.get_selected_text() == f"{words[4:]}\n\n{words[: words.index('ight')]}"


async def test_a_double_click_selects_the_message() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        app.transcript.show(CHAT, {}, None)
        await settled(pilot)
        await pilot.click(app.transcript, offset=(8, 3), times=2)
        await settled(pilot)
        assert app.screen.get_selected_text() == "Hi there."


async def test_a_click_chooses_and_following_is_resumed_by_the_hint() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.transcript.show(conversation(20), {}, None)
        await settled(pilot)
        app.transcript.scroll_to(y=10, animate=False)
        app.transcript.show([*conversation(20), message(21, "user", "New.")], {}, None)
        await settled(pilot)
        assert app.rows[-1].strip() == "▾ new text below"
        await pilot.click(app.transcript, offset=(30, 9))
        await settled(pilot)
        assert app.transcript.is_following
        assert app.rows[-2] == "  ▎ New."
        await pilot.click(app.transcript, offset=(8, 8))
        await settled(pilot)
        assert app.transcript.chosen is app.transcript.turns[-1]
