from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui.remembered import Remembered
from tests.tui.conftest import Opened, Stage


def contents(at: Stage) -> list[str]:
    return [one.content for one in at.chat.messages]


async def test_what_is_typed_is_there_in_the_next_run(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        await at.pilot.press(*"half a thought")
    async with stage() as at:
        assert at.main.chat_pane.prompt.text == "half a thought"
    assert stat.S_IMODE((places.state / "screen.json").stat().st_mode) == 0o600


async def test_each_chat_has_a_draft_of_its_own(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("First")
        first = at.chat.id or ""
        await at.type("about the first")
        at.main.action_command("new")
        await at.until(lambda: not at.chat.messages)
        assert at.main.chat_pane.prompt.text == ""
        await at.type("about nothing")
        await at.main.open(first)
        assert at.main.chat_pane.prompt.text == "about the first"
        at.main.action_command("new")
        await at.until(lambda: at.main.chat_pane.prompt.text == "about nothing")


async def test_what_was_sent_is_no_draft_any_more(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        await at.take_turn("Sent")
    async with stage() as at:
        assert at.main.chat_pane.prompt.text == ""
    kept = places.state / "screen.json"
    assert not kept.exists() or b"Sent" not in kept.read_bytes()


async def test_what_is_sent_while_the_model_is_loaded_outlives_a_kill(
    stage: Opened, places: Paths
) -> None:
    import threading

    from localchat.tui.chats.engines import Engine
    from localchat.types import ModelRef

    may_go_on = threading.Event()
    async with stage() as at:
        client = at.clients[1]

        def slow(name: str) -> Engine:
            may_go_on.wait(20)
            return Engine(client, ModelRef(name, "/nowhere.gguf"))

        at.main.chats.engines.close()
        at.main.chats.engines._open = slow
        await at.say("Do not lose me")
        await at.until(lambda: Remembered(places.state).draft("") == "Do not lose me")
        client.give("I won't.")
        client.finish()
        may_go_on.set()
        await at.until(lambda: at.chat.last_reply and not at.chat.is_busy)
        await at.until(lambda: Remembered(places.state).draft("") == "")


async def test_nothing_private_is_a_draft(stage: Opened, places: Paths) -> None:
    from localchat.tui.start import Start

    async with stage(start=Start(is_private=True)) as at:
        await at.pilot.press(*"a secret")
        await at.take_turn(" is kept")
    for path in places.state.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes()


async def test_copying_is_by_the_terminal_and_only_on_demand(stage: Opened) -> None:
    async with stage() as at:
        at.client.give("See \x1b]52;c;aGFja2Vk\x07 here.")
        at.client.finish()
        await at.say("Hello")
        await at.until(lambda: at.chat.last_reply and not at.chat.is_busy)
        assert at.app.clipboard == ""
        await at.pilot.press("shift+tab", "c")
        await at.until(lambda: "here." in at.app.clipboard)
        assert "\x1b" not in at.app.clipboard
        assert base64.b64encode(b"hacked").decode() in at.app.clipboard  # as harmless text


async def test_deleting_can_be_undone_until_it_is_carried_out(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localchat.tui.screens import history_pane

    async with stage() as at:
        await at.take_turn("One")
        await at.take_turn("Two")
        third = at.chat.messages[2].id
        await at.main.chat_pane.delete(third)
        await at.until(lambda: contents(at) == ["One", "Yes."])
        at.main.action_undo_deletion()
        await at.until(lambda: contents(at) == ["One", "Yes.", "Two", "Yes."])
        monkeypatch.setattr(history_pane, "DELETION_DELAY", 0.01)
        await at.main.chat_pane.delete(third)
        store = at.main.chats.history.store()
        await at.until(lambda: len(store.tree(at.chat.id or "")) == 2)
        assert contents(at) == ["One", "Yes."]


async def test_a_deletion_is_carried_out_when_the_screen_is_left(
    stage: Opened, places: Paths
) -> None:
    from localchat.store.store import Store

    async with stage() as at:
        await at.take_turn("One")
        await at.main.chat_pane.delete(at.chat.messages[0].id)
        await at.until(lambda: contents(at) == [])
    with Store.open(places) as store:
        assert store.stats().messages == 0


async def test_the_editor_writes_on_the_prompt(
    stage: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\nprintf " and more" >> "$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(script))
    async with stage() as at:
        monkeypatch.setattr(at.app, "suspend", nullcontext)  # a test has no terminal to give away
        await at.type("Some words")
        await at.pilot.press("ctrl+g")
        await at.until(lambda: at.main.chat_pane.prompt.text == "Some words and more")


async def test_history_of_prompts_comes_back_in_the_next_run(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("The first of all")
    async with stage() as at:
        await at.until(lambda: at.main.chat_pane.prompt.history)
        await at.pilot.press("up")
        await at.until(lambda: at.main.chat_pane.prompt.text == "The first of all")


async def test_ctrl_c_clears_then_leaves(stage: Opened) -> None:
    async with stage() as at:
        await at.type("some words")
        await at.pilot.press("ctrl+c")
        await at.until(lambda: at.main.chat_pane.prompt.text == "")
        await at.pilot.press("ctrl+c")
        assert at.app.return_value is None
        await at.pilot.press("ctrl+c")
        await at.pilot.pause()
        assert at.app.return_value == 0


async def test_ctrl_d_leaves_from_an_empty_prompt_only(stage: Opened) -> None:
    async with stage() as at:
        await at.type("some words")
        await at.pilot.press("ctrl+d")
        assert at.app.return_value is None
        await at.pilot.press("ctrl+c", "ctrl+d")
        await at.pilot.pause()
        assert at.app.return_value == 0


async def test_what_is_typed_without_a_focus_reaches_the_prompt(stage: Opened) -> None:
    async with stage() as at:
        at.app.set_focus(None)
        await at.pilot.press(*"hey")
        await at.until(lambda: at.main.chat_pane.prompt.text == "hey")


async def test_keys_can_be_others(stage: Opened) -> None:
    async with stage(settings=Settings(keys={"chat.new": "f9"})) as at:
        await at.take_turn("Hello")
        await at.pilot.press("f9")
        await at.until(lambda: not at.chat.messages)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"chat.nwe": "f9"}, "did you mean 'chat.new'"),
        ({"chat.new": "florp"}, "can't give chat.new the key 'florp'"),
    ],
)
async def test_keys_that_can_not_be_are_refused(
    stage: Opened, keys: dict[str, str], sentence: str
) -> None:
    from localchat.errors import ConfigError

    with pytest.raises(ConfigError, match=sentence.replace("(", r"\(")):
        async with stage(settings=Settings(keys=keys)):
            pass
