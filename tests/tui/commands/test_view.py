from __future__ import annotations

from localchat.paths import Paths
from localchat.tui.commands import TABLE
from localchat.tui.remembered import Remembered
from localchat.tui.screens.help import HelpScreen
from tests.tui.conftest import Opened

# Of the table of commands that the chat screen promises.
PROMISED = {
    *("help", "new", "model", "system", "preset", "file", "image", "regen", "undo", "edit"),
    *("branch", "search", "export", "save", "stats", "context", "think", "incognito", "set"),
    *("theme", "quit"),
}


def test_all_commands_are_there_with_a_meaning() -> None:
    assert set(TABLE) >= PROMISED
    assert all(one.meaning[0].islower() and len(one.meaning) < 70 for one in TABLE.values())


async def test_help_shows_every_key_and_command(stage: Opened) -> None:
    async with stage(size=(100, 140)) as at:
        await at.pilot.press("f1")
        await at.until(lambda: isinstance(at.app.screen, HelpScreen))
        shown = at.shown
        assert "Ctrl+N" in shown
        assert "chat.new" in shown
        assert all(f"/{name}" in shown for name in TABLE)
        await at.pilot.press("escape")
        await at.until(lambda: at.app.screen is at.main)


async def test_the_palette_has_all_commands(stage: Opened) -> None:
    async with stage(size=(100, 100)) as at:
        await at.pilot.press("ctrl+p")
        await at.until(lambda: "Begin a new chat" in at.shown)
        assert all(f"/{name}" in at.shown for name in TABLE)
        await at.pilot.press(*"fast the last", "enter")
        await at.until(lambda: any("measured" in note for note in at.notes))


async def test_the_palette_lets_type_what_a_command_needs(stage: Opened) -> None:
    async with stage() as at:
        await at.pilot.press("ctrl+p")
        await at.pilot.press(*"change one value", "enter")
        await at.until(lambda: at.main.chat_pane.prompt.text == "/set ")


async def test_stats_tell_of_the_last_reply(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Hello", "Good day to you.")
        await at.say("/stats")
        await at.until(lambda: any("prompt 20 tokens" in note for note in at.notes))
        assert "1.5 tokens/s" in at.notes[-1]


async def test_a_theme_is_kept(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        assert Remembered(places.state).theme is None
        await at.say("/theme nord")
        await at.until(lambda: at.app.theme == "nord")
    assert Remembered(places.state).theme == "nord"
    async with stage() as at:
        assert at.app.theme == "nord"


async def test_no_theme_is_kept_that_was_not_chosen(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        await at.take_turn("Hello")
    assert Remembered(places.state).theme is None


async def test_quit_leaves(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/quit")
        await at.pilot.pause()
        assert at.app.return_value == 0


async def test_what_may_follow_a_command_is_offered(stage: Opened) -> None:
    async with stage() as at:
        await at.until(lambda: at.main.chat_pane.prompt.candidates)
        await at.pilot.press(*"/preset tra")
        await at.until(lambda: "translate" in at.shown)
        await at.pilot.press("tab")
        await at.until(lambda: at.main.chat_pane.prompt.text.startswith("/preset translate"))
