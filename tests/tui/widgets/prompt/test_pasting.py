from __future__ import annotations

import pytest
from textual.events import Paste

from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.prompt import Prompt
from tests.tui.widgets.prompt.screen import PromptApp, type_in

LONG = "line\n" * 240
LABEL = "[Pasted text #1: 240 lines]"


@pytest.fixture
def app() -> PromptApp:
    return PromptApp()


def shown(app: PromptApp) -> str:
    return app.query_one(PromptArea).text


async def test_long_text_folds_and_is_sent_whole(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "Look: ")
        app.post_message(Paste(LONG))
        await pilot.press("!")
        assert shown(app) == f"Look: {LABEL}!"
        assert app.posted(Prompt.Changed)[-1].text == f"Look: {LONG}!"
        await pilot.press("enter")
        sent = Prompt.Submitted(f"Look: {LONG}!", f"Look: {LABEL}!")
        assert app.posted(Prompt.Submitted) == [sent]


async def test_short_text_is_put_in_harmless(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste("a\x1b]52;c;eA==\x07\r\nb\u202e"))
        await pilot.press("!")
        assert app.prompt.text == "a]52;c;eA==\nb!"


async def test_the_clipboard_within_the_application_folds_too(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.copy_to_clipboard(LONG)
        await pilot.press("ctrl+v")
        assert shown(app) == LABEL


async def test_what_is_selected_is_replaced(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "ab")
        await pilot.press("shift+left")
        app.post_message(Paste("X"))
        await pilot.pause()
        assert app.prompt.text == "aX"


@pytest.mark.parametrize(
    "keys",
    [
        ["backspace"],
        ["left", "delete"],
        ["ctrl+w"],
        ["shift+left", "X", "backspace"],
    ],
)
async def test_a_chip_is_deleted_as_one(app: PromptApp, keys: list[str]) -> None:
    async with app.run_test() as pilot:
        await type_in(pilot, "a ")
        app.post_message(Paste(LONG))
        await pilot.press(*keys)
        assert shown(app) == "a "


async def test_undo_brings_a_chip_back(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.press("backspace")
        assert app.prompt.text == ""
        await pilot.press("ctrl+z")
        assert app.prompt.text == LONG


async def test_the_cursor_steps_over_a_chip(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.press("left", "a", "right", "b")
        assert shown(app) == f"a{LABEL}b"


async def test_a_click_into_a_chip_goes_beside_it(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.pause()
        await pilot.click(PromptArea, offset=(5, 0))
        await pilot.press("a")
        assert shown(app) == f"a{LABEL}"


async def test_ctrl_o_shows_the_pasted_text(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste("line\n" * 20))
        await pilot.press("f6")
        assert shown(app) == "line\n" * 20
        await pilot.press("ctrl+z")
        assert shown(app) == "[Pasted text #1: 20 lines]"


async def test_what_is_too_long_to_show_is_left_to_the_editor(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste("line\n" * 20_000))
        await pilot.press("f6")
        assert shown(app) == "[Pasted text #1: 20,000 lines]"
        assert app.complaint == "That is too long to show here: Ctrl+G opens it in the editor."


async def test_the_editor_gets_all_of_it_and_the_chip_comes_back(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.press("ctrl+g")
        assert app.posted(Prompt.EditorAsked)[0].text == LONG
        app.prompt.load(f"Look: {LONG}")
        assert shown(app) == f"Look: {LABEL}"
        assert app.prompt.text == f"Look: {LONG}"


async def test_a_sent_prompt_comes_back_with_its_chip(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.press("enter")
        app.prompt.load(app.posted(Prompt.Submitted)[0].text)
        assert shown(app) == LABEL
        app.prompt.load("")
        await pilot.press("up")
        assert shown(app) == LABEL


async def test_ctrl_k_on_the_last_empty_line(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.press("ctrl+j", "ctrl+k")
        assert shown(app).startswith(LABEL)


async def test_a_megabyte_is_one_chip(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste("größer\n" * 150_000))
        await pilot.press("!", "enter")
        assert app.posted(Prompt.Submitted)[0].text == "größer\n" * 150_000 + "!"


async def test_the_hints_tell_how_to_see_what_was_pasted(app: PromptApp) -> None:
    async with app.run_test() as pilot:
        app.post_message(Paste(LONG))
        await pilot.pause()
        assert app.hints == "Enter sends · F6 shows the pasted text · Ctrl+G editor"
        await pilot.press("backspace", "a")
        assert "pasted" not in app.hints
