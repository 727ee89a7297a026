"""What is on the screen of a conversation, and of a reply as it comes."""

from __future__ import annotations

import asyncio
import random

import pytest

from localchat.tui.chats.live import Live
from localchat.tui.widgets.transcript.transcript import Transcript
from tests.tui.widgets.transcript.screen import (
    REPLY,
    TranscriptApp,
    conversation,
    generation,
    message,
    settled,
)

ESCAPES = "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07\x1b[31mred\x9b1m"


async def test_a_conversation_is_shown_as_it_was_written() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 40)) as pilot:
        messages = [
            message(1, "system", "Be brief.\nBe kind."),
            message(2, "user", "How do I *sort*?\n  By length."),
            message(3, "assistant", REPLY),
        ]
        app.transcript.show(messages, {3: (3, 7)}, None)
        await settled(pilot)
        assert [row for row in app.rows if row] == [
            "    ▸ System prompt: Be brief. Be kind.",
            "  ▎ How do I *sort*?",
            "  ▎   By length.",
            "    Sorting",
            "    Use sorted with key, always:",
            "      python",
            "      sorted(words, key=len)",
            "    1. It is stable.",
            "    2. It returns a list.",
            "       ◦ a new one",
            "    what      cost",
            "    ──────────────",
            "    sort   n log n",
            "    │ Quoted.",
            "    1/2",
        ]


async def test_no_conversation_greets() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 9)) as pilot:
        app.transcript.greeting = ("Hello.", "Enter sends")
        app.transcript.refresh()
        await settled(pilot)
        assert [(y, row) for y, row in enumerate(app.rows) if row] == [
            (2, " " * 17 + "Hello."),
            (4, " " * 14 + "Enter sends"),
        ]


async def test_a_reply_that_comes_in_pieces_ends_as_one_that_was_there() -> None:
    text = f"{REPLY}\n\n{REPLY}"
    whole = TranscriptApp()
    async with whole.run_test(size=(60, 50)) as pilot:
        whole.transcript.show([message(1, "assistant", text)], {}, None)
        await settled(pilot)
        expected = whole.rows
    app = TranscriptApp()
    async with app.run_test(size=(60, 50)) as pilot:
        live = Live(1)
        app.transcript.show([message(1, "assistant", "", state="generating")], {}, live)
        cut = random.Random(4)
        while len(live.content) < len(text):
            live.content = text[: len(live.content) + cut.randint(1, 40)]
            app.transcript.stream(live)
            await pilot.pause()
        app.transcript.show([message(1, "assistant", text)], {}, None)
        await settled(pilot)
        assert app.rows == expected


async def test_what_comes_is_seen_and_the_end_is_followed() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 8)):
        live = Live(2)
        start = [message(1, "user", "Count."), message(2, "assistant", "", state="generating")]
        app.transcript.show(start, {}, live)
        for number in range(1, 21):
            live.content += f"{number}\n\n"
            app.transcript.stream(live)
            await seen(app, f"    {number}")
        assert app.transcript.is_following
        assert app.rows[-2] == "    20"


async def seen(app: TranscriptApp, row: str) -> None:
    """Waits until a row is on the screen."""
    async with asyncio.timeout(10):
        while row not in app.rows:
            await asyncio.sleep(0.01)


async def test_a_reader_who_scrolls_up_stays_there() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 10)) as pilot:
        live = Live(2, content="\n\n".join(f"line {number}" for number in range(30)))
        start = [message(1, "user", "Go."), message(2, "assistant", "", state="generating")]
        app.transcript.show(start, {}, live)
        app.transcript.focus()
        await settled(pilot)
        await pilot.press("pageup")
        await settled(pilot)
        assert not app.transcript.is_following
        before = app.rows
        assert "▾ new text below" not in before[-1]
        live.content += "\n\nlater\n\nmore"
        app.transcript.stream(live)
        async with asyncio.timeout(10):
            while app.rows == before:
                await asyncio.sleep(0.01)
        assert app.rows[:-1] == before[:-1]
        assert app.rows[-1].strip() == "▾ new text below"
        await pilot.press("end")
        await settled(pilot)
        assert app.transcript.is_following
        assert app.rows[-2] == "    more"
        assert not any("new text" in row for row in app.rows)


async def test_the_wheel_leaves_the_end_and_comes_back() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 10)) as pilot:
        app.transcript.show(conversation(6), {}, None)
        await settled(pilot)
        sheet = app.transcript
        sheet._on_mouse_scroll_up(_wheel(sheet))
        assert not sheet.is_following
        for _ in range(3):
            sheet._on_mouse_scroll_down(_wheel(sheet))
        assert sheet.is_following


def _wheel(sheet: Transcript):  # type: ignore[no-untyped-def]
    from textual.events import MouseScrollDown

    return MouseScrollDown(sheet, 1, 1, 0, 0, 0, False, False, False)


async def test_scrolling_through_500_messages_moves_each_row_by_one() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 24)) as pilot:
        app.transcript.show(conversation(500), {}, None)
        await settled(pilot)
        sheet = app.transcript
        made = [turn for turn in sheet.turns if turn.is_made]
        assert 0 < len(made) < 10
        rows = app.rows
        for _ in range(400):
            sheet.scroll_to(y=sheet.scroll_offset.y - 1, animate=False)
            now = app.rows
            assert now[1:] == rows[:-1]
            rows = now
        for _ in range(400):
            sheet.scroll_to(y=sheet.scroll_offset.y + 1, animate=False)
            now = app.rows
            assert now[:-1] == rows[1:]
            rows = now
        assert sheet.is_following


async def test_far_messages_give_their_lines_back() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 24)) as pilot:
        app.transcript.show(conversation(300), {}, None)
        await settled(pilot)
        sheet = app.transcript
        while sheet.scroll_offset.y:
            sheet.scroll_to(y=sheet.scroll_offset.y - 20, animate=False)
        assert sheet.turns[0].is_made
        assert sum(turn.is_made for turn in sheet.turns) <= 61
        assert app.rows[1] == "  ▎ Question 1?"


async def test_what_is_shown_again_stays_as_it_is() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 24)) as pilot:
        messages = conversation(60)
        app.transcript.show(messages, {}, None)
        await settled(pilot)
        sheet = app.transcript
        sheet.scroll_to(y=sheet.scroll_offset.y - 100, animate=False)
        rows, turns = app.rows, list(sheet.turns)
        lines = [turn.lines(turn.width) for turn in turns]
        sheet.show([*messages, message(61, "user", "One more.")], {}, None)
        await settled(pilot)
        assert app.rows[:-1] == rows[:-1]
        assert app.rows[-1].strip() == "▾ new text below"
        assert sheet.turns[:60] == turns
        assert all(turn.lines(turn.width) is old for turn, old in zip(turns, lines, strict=True))


async def test_another_conversation_begins_at_its_end() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 24)) as pilot:
        sheet = app.transcript
        sheet.show(conversation(40), {}, None)
        await settled(pilot)
        sheet.scroll_to(y=0, animate=False)
        sheet.show([*conversation(40, first=1001), message(2000, "user", "The last.")], {}, None)
        await settled(pilot)
        assert app.rows[-2] == "  ▎ The last."
        sheet.show([], {}, None)
        await settled(pilot)
        assert "Enter sends" in "".join(app.rows)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (20, 4), (60, 20), (200, 60)])
async def test_any_size_will_do(size: tuple[int, int]) -> None:
    app = TranscriptApp()
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        app.transcript.show(conversation(6), {}, None)
        await settled(pilot)
        assert len(app.rows) == size[1]
        await pilot.resize_terminal(50, 15)
        await settled(pilot)
        await pilot.resize_terminal(*size)
        await settled(pilot)
        assert len(app.rows) == size[1]


async def test_a_reader_stays_at_the_same_message_when_the_width_changes() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(90, 24)) as pilot:
        app.transcript.show(conversation(60), {}, None)
        app.transcript.focus()
        await settled(pilot)
        for _ in range(9):
            await pilot.press("up")
        await settled(pilot)
        assert app.transcript.chosen is not None
        first = f"Answer {app.transcript.chosen.id}."
        assert any(first in row for row in app.rows)
        await pilot.resize_terminal(50, 24)
        await settled(pilot)
        assert any(first in row for row in app.rows)


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
async def test_nothing_of_a_text_can_steer_the_terminal(role: str) -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 24)) as pilot:
        text = f"a [b]{ESCAPES}[/b] &#27;[2J &#x9b;2J ```py\n{ESCAPES}\n``` [c](http://d)"
        app.transcript.show([message(1, role, text, reasoning=ESCAPES)], {}, None)  # type: ignore[arg-type]
        app.transcript.action_fold(1)
        await settled(pilot)
        strips = [app.transcript.render_line(y) for y in range(24)]
        shown = "".join(strip.text for strip in strips)
        assert "[b]" in shown
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
        links = [segment.style.link for strip in strips for segment in strip if segment.style]
        assert set(links) == {None}


async def test_control_characters_cut_in_two_are_dropped() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(70, 12)) as pilot:
        live = Live(1)
        app.transcript.show([message(1, "assistant", "", state="generating")], {}, live)
        for character in f"```\none{ESCAPES}two":
            live.content += character
            app.transcript.stream(live)
            await pilot.pause()
        async with asyncio.timeout(10):
            while not app.rows[2].endswith("two"):
                await asyncio.sleep(0.01)
        assert app.rows[2] == "      one]8;;http://evil.examplex]8;;[31mred1mtwo"


async def test_a_theme_changes_what_is_drawn() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 8)) as pilot:
        app.transcript.show([message(1, "user", "Hi.")], {}, None)
        await settled(pilot)
        dark = app.transcript.render_line(1)
        app.theme = "textual-light"
        await settled(pilot)
        assert app.transcript.render_line(1) != dark


async def test_a_stopped_reply_says_so_beneath_it() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(40, 8)) as pilot:
        live = Live(1, content="Half of")
        app.transcript.show([message(1, "assistant", "", state="generating")], {}, live)
        await settled(pilot)
        ended = message(
            1, "assistant", "Half of", state="incomplete", generations=(generation("cancelled"),)
        )
        app.transcript.show([ended], {}, None)
        await settled(pilot)
        assert [row for row in app.rows if row] == ["    Half of", "    stopped"]


async def test_a_reader_within_a_long_message_stays_there_when_the_width_changes() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(90, 12)) as pilot:
        text = "\n\n".join(f"{number}. " + "word " * 30 for number in range(1, 101))
        app.transcript.show([message(1, "user", text)], {}, None)
        await settled(pilot)
        app.transcript.scroll_to(y=app.transcript.max_scroll_y // 2, animate=False)
        await settled(pilot)
        await pilot.resize_terminal(40, 12)
        await settled(pilot)
        numbers = [row[4:6] for row in app.rows if row[4:6].isdigit()]
        assert numbers
        assert all(45 <= int(number) <= 55 for number in numbers)
