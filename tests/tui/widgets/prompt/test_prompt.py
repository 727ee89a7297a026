from __future__ import annotations

import pytest
from textual.events import Key

from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.prompt import Prompt
from tests.tui.widgets.prompt.screen import PromptApp, type_in


async def test_enter_sends_all_lines_and_empties_the_prompt() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "one\ntwo")
        assert app.prompt.text == "one\ntwo"
        await pilot.press("enter")
        assert app.posted(Prompt.Submitted) == [Prompt.Submitted("one\ntwo", "one\ntwo")]
        assert app.prompt.text == ""


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_keys_for_a_new_line(key: str) -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", key, "b")
        assert app.prompt.text == "a\nb"
        assert not app.posted(Prompt.Submitted)


async def test_blank_text_is_not_sent() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, " \n ")
        await pilot.press("enter")
        assert not app.posted(Prompt.Submitted)


async def test_the_indentation_of_the_first_line_is_sent() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.prompt.load("\n    if x:\n        y\n\n")
        await pilot.press("enter")
        assert app.posted(Prompt.Submitted)[0].text == "    if x:\n        y"


async def test_keys_in_one_burst_keep_their_order() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        for key in ("a", "b", "backspace", "c", "enter", "d"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert app.posted(Prompt.Submitted)[0].text == "ac"
        assert app.prompt.text == "d"


async def test_while_a_reply_is_written_enter_keeps_the_text() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.prompt.is_busy = True
        await type_in(pilot, "next")
        assert "Esc stops the reply" in app.hints
        await pilot.press("enter")
        assert not app.posted(Prompt.Submitted)
        assert app.prompt.text == "next"
        assert "Esc stops it" in app.complaint
        app.prompt.is_busy = False
        await pilot.press("enter")
        assert app.posted(Prompt.Submitted)[0].text == "next"
        assert app.complaint == ""


async def test_up_and_down_walk_through_the_history() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.prompt.history = ["first", "second\nof two lines"]
        await type_in(pilot, "typed")
        await pilot.press("up")
        assert app.prompt.text == "second\nof two lines"
        await pilot.press("up")
        assert app.prompt.text == "first"
        await pilot.press("up")
        assert app.prompt.text == "first"
        await pilot.press("down")
        assert app.prompt.text == "second\nof two lines"
        await pilot.press("down")
        assert app.prompt.text == "typed"


async def test_up_within_the_text_moves_the_cursor() -> None:
    app = PromptApp()
    async with app.run_test(size=(30, 20)) as pilot:
        app.prompt.history = ["earlier"]
        await type_in(pilot, "word " * 8)  # wraps to two rows
        await pilot.press("up")
        assert app.prompt.text == "word " * 8
        await pilot.press("up")
        assert app.prompt.text == "earlier"


async def test_what_was_sent_is_the_newest_of_the_history() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "again")
        await pilot.press("enter", "up", "enter")
        assert app.prompt.history == ["again"]
        assert [message.text for message in app.posted(Prompt.Submitted)] == ["again", "again"]


async def test_load_brings_a_prompt_back_and_makes_it_harmless() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "typed")
        app.prompt.load("a\x1b[31m\r\nb\u202e")
        await pilot.press("c")
        assert app.prompt.text == "a[31m\nbc"


async def test_changes_are_told() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", "b")
        assert app.posted(Prompt.Changed)[-1].text == "ab"


@pytest.mark.parametrize(
    ("key", "left"),
    [
        ("ctrl+u", ""),
        ("ctrl+w", "one "),
        ("ctrl+a,ctrl+k", ""),
        ("ctrl+u,ctrl+z", "one two"),
        ("ctrl+u,ctrl+z,ctrl+y", ""),
        ("ctrl+a,X", "Xone two"),
        ("ctrl+a,ctrl+e,X", "one twoX"),
    ],
)
async def test_editing_keys(key: str, left: str) -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "one two")
        await pilot.press(*key.split(","))
        assert app.prompt.text == left


async def test_the_frame_grows_to_a_third_of_the_screen() -> None:
    app = PromptApp()
    async with app.run_test(size=(60, 30)) as pilot:
        assert app.prompt.outer_size.height == 3
        await type_in(pilot, "\n\n")
        assert app.prompt.outer_size.height == 5
        area = app.query_one(PromptArea)
        assert area.scroll_offset.y == 0
        await type_in(pilot, "\n" * 20)
        assert app.prompt.outer_size.height == 11
        assert area.scroll_offset.y + area.size.height == 23


async def test_the_cursor_is_not_drawn_without_focus() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", "left")
        area = app.query_one(PromptArea)
        focused = area.render_line(0)
        app.set_focus(None)
        for _ in range(1000):
            if area.render_line(0) != focused:
                return
            await pilot.pause(0.01)
        raise AssertionError("the cursor is still drawn")


async def test_nothing_wakes_the_machine_while_the_prompt_waits() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a")
        assert not app.query_one(PromptArea).cursor_blink


async def test_keys_can_be_mapped_anew_and_the_hints_know() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        assert app.hints.startswith("Enter sends · Ctrl+J new line")
        app.set_keymap({"prompt.send": "ctrl+s", "prompt.newline": "enter"})
        await pilot.press("a", "enter", "b")
        assert "Ctrl+S sends · Enter new line" in app.hints
        await pilot.press("ctrl+s")
        assert app.posted(Prompt.Submitted)[0].text == "a\nb"


async def test_ctrl_d_in_an_empty_prompt_is_left_to_others() -> None:
    class Leaving(PromptApp):
        BINDINGS = [("ctrl+d", "leave", "")]  # noqa: RUF012
        is_left = False

        def action_leave(self) -> None:
            self.is_left = True

    app = Leaving()
    async with app.run_test() as pilot:
        await pilot.press("a", "left", "ctrl+d")
        assert app.prompt.text == ""
        assert not app.is_left
        await pilot.press("ctrl+d")
        assert app.is_left


async def test_ctrl_g_asks_for_the_editor() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "text")
        await pilot.press("ctrl+g")
        assert app.posted(Prompt.EditorAsked) == [Prompt.EditorAsked("text")]


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (60, 20), (300, 80)])
async def test_any_size(size: tuple[int, int]) -> None:
    app = PromptApp()
    async with app.run_test(size=size) as pilot:
        await type_in(pilot, "some words\nand more")
        await pilot.press("enter")
        assert app.posted(Prompt.Submitted)[0].text == "some words\nand more"


async def test_command_with_its_argument() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "/model  smollm2-135m ")
        await pilot.press("enter")
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("model", "smollm2-135m")]
        assert app.prompt.text == ""


async def test_commands_are_given_while_a_reply_is_written() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        app.prompt.is_busy = True
        await type_in(pilot, "/fork")
        await pilot.press("enter")
        assert app.posted(Prompt.CommandGiven) == [Prompt.CommandGiven("fork", "")]


async def test_unknown_command_is_not_sent() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "/foo bar")
        await pilot.press("enter")
        assert app.complaint == "There is no command /foo; did you mean /fork?"
        assert app.prompt.text == "/foo bar"
        assert not app.posted(Prompt.Submitted)
        await pilot.press("x")
        assert app.complaint == ""


async def test_two_slashes_send_text_that_begins_with_one() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await type_in(pilot, "//etc is what?")
        await pilot.press("enter")
        assert app.posted(Prompt.Submitted)[0].text == "/etc is what?"
