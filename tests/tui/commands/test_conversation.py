from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tui.conftest import Opened, Stage


def contents(at: Stage) -> list[str]:
    return [one.content for one in at.chat.messages]


async def test_new_begins_a_chat_and_may_ask_at_once(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("First")
        first = at.chat
        at.client.give("Two.")
        at.client.finish()
        await at.say("/new Second")
        await at.until(lambda: at.chat is not first and contents(at) == ["Second", "Two."])


async def test_incognito_keeps_nothing_and_stays_in_the_list(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/incognito")
        await at.until(lambda: at.chat.is_private)
        await at.take_turn("A secret")
        assert "Incognito: A secret" in at.shown
        assert "nothing is kept" in at.shown
        assert at.client.requests[-1].private
        assert at.main.chats.history.store().stats().messages == 0
        key = at.chat.key or ""
        await at.say("/new")
        await at.until(lambda: not at.chat.is_private)
        await at.main.open(key)
        await at.until(lambda: contents(at) == ["A secret", "Yes."])


async def test_regen_puts_another_reply_beside_the_last(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Name a colour", "Red.")
        at.client.give("Blue.")
        at.client.finish()
        await at.say("/regen")
        await at.until(lambda: contents(at) == ["Name a colour", "Blue."] and not at.chat.is_busy)
        assert "2/2" in at.shown


async def test_continue_goes_on_where_a_reply_was_cut(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Count")
        at.client.give("One,")
        at.client.finish("length")
        await at.until(lambda: at.chat.last_reply and not at.chat.is_busy)
        at.client.give(" two.")
        at.client.finish()
        await at.say("/continue")
        await at.until(lambda: contents(at) == ["Count", "One, two."])
        partial = at.client.requests[-1].partial_reply
        assert partial is not None
        assert partial.content == "One,"


async def test_undo_gives_the_words_back_and_keeps_the_branch(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("One")
        await at.take_turn("Two")
        await at.say("/undo")
        await at.until(lambda: contents(at) == ["One", "Yes."])
        assert at.main.chat_pane.prompt.text == "Two"
        assert len(at.main.chats.history.store().tree(at.chat.id or "")) == 4


async def test_edit_makes_a_branch_that_can_be_left_and_come_back_to(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Name a colour", "Red.")
        await at.say("/edit")
        await at.until(lambda: at.main.chat_pane.prompt.text == "Name a colour")
        assert "Editing" in at.shown
        at.main.chat_pane.prompt.load("Name an animal")
        at.client.give("Dog.")
        at.client.finish()
        await at.pilot.press("enter")
        await at.until(lambda: contents(at) == ["Name an animal", "Dog."] and not at.chat.is_busy)
        await at.say("/branch")
        await at.until(lambda: contents(at) == ["Name a colour", "Red."])


async def test_an_edit_that_is_left_brings_the_draft_back(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Name a colour", "Red.")
        await at.type("half a thou")
        at.main.chat_pane.begin_edit(at.chat.messages[0].id)
        await at.until(lambda: at.main.chat_pane.prompt.text == "Name a colour")
        await at.pilot.press("escape")
        await at.until(lambda: at.main.chat_pane.prompt.text == "half a thou")


async def test_the_models_own_words_can_be_edited_and_go_on(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Name a colour", "Red.")
        await at.say("/edit 2")
        await at.until(lambda: at.main.chat_pane.prompt.text == "Red.")
        at.main.chat_pane.prompt.load("Green is")
        at.client.give(" nice.")
        at.client.finish()
        await at.pilot.press("enter")
        await at.until(lambda: contents(at) == ["Name a colour", "Green is nice."])


async def test_search_finds_words_of_other_chats(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Why do cats purr?", "Contentment.")
        await at.say("/new")
        await at.until(lambda: not at.chat.messages)
        await at.say("/search contentment")
        await at.until(lambda: "Contentment" in at.shown)


@pytest.mark.parametrize("name", ["talk.md", "talk.json"])
async def test_export_writes_a_file_and_replaces_none(
    stage: Opened, tmp_path: Path, name: str
) -> None:
    async with stage() as at:
        await at.take_turn("Why do cats purr?", "Contentment.")
        target = tmp_path / name
        await at.say(f"/export {target}")
        await at.until(target.exists)
        text = target.read_text()
        if name.endswith(".json"):
            assert json.loads(text)["messages"][1]["content"] == "Contentment."
        else:
            assert "Contentment." in text
        target.write_text("mine")
        await at.say(f"/export {target}")
        await at.until(lambda: any("already" in note for note in at.notes))
        assert target.read_text() == "mine"


async def test_export_names_a_file_by_itself(
    stage: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with stage() as at:
        await at.take_turn("Why do cats purr?", "Contentment.")
        for name in ("why-do-cats-purr.md", "why-do-cats-purr-2.md"):
            await at.say("/export")
            await at.until((tmp_path / name).exists)


async def test_save_gives_a_title(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("Why do cats purr?")
        await at.say("/save All about cats")
        await at.until(lambda: at.chat.title == "All about cats" and "All about cats" in at.shown)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("/undo", "nothing to take back"),
        ("/regen", "no reply yet"),
        ("/continue", "no reply to go on"),
        ("/branch", "no branches"),
        ("/edit", "no message yet"),
        ("/edit 7", "no message 7"),
        ("/edit x", "no message x"),
        ("/export", "nothing to write"),
        ("/save", "nothing to keep"),
        ("/file", "Which file?"),
        ("/image cat.png", "projector"),
        ("/set", ""),
        ("/set warmth 3", "warmth"),
        ("/set temperature hot", "temperature"),
        ("/preset nowhere", "nowhere"),
        ("/preset translate language", "key=value"),
        ("/preset 'x", "can't be read"),
        ("/model nowhere-7b", "nowhere-7b"),
        ("/theme plaid", "plaid"),
        ("/think hard", "reasoning"),
    ],
)
async def test_what_makes_no_sense_is_said_in_a_sentence(
    stage: Opened, typed: str, sentence: str
) -> None:
    async with stage() as at:
        await at.say(typed)
        if sentence:
            await at.until(lambda: any(sentence in note for note in at.notes))
        assert not at.client.requests


async def test_nothing_changes_while_a_reply_is_written(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Tell me")
        at.client.give("Well")
        await at.until(lambda: "Well" in at.shown)
        for name in ("regen", "undo", "continue", "branch", "edit", "compare"):
            at.app.clear_notifications()
            at.main.action_command(name)
            await at.until(lambda: at.notes)
            assert "being written" in at.notes[-1]
        at.client.finish()
        await at.until(lambda: not at.chat.is_busy)
