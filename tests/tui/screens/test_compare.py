from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from localchat.errors import LocalchatError, ModelNotFound
from localchat.events import Failed
from localchat.paths import Paths
from localchat.store.records import StoredMessage
from localchat.store.store import Store
from localchat.tui.chats.engines import Engine
from localchat.tui.screens.compare import Column, CompareScreen
from localchat.tui.screens.models import ModelPicker
from localchat.tui.screens.settings import SettingsPanel
from localchat.tui.start import Start
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.types import ModelRef
from tests.tui.conftest import Opened, Stage
from tests.tui.paced import PacedClient


def contents(at: Stage) -> list[str]:
    return [one.content for one in at.chat.messages]


def is_open(at: Stage) -> bool:
    return isinstance(at.app.screen, CompareScreen)


def screen(at: Stage) -> CompareScreen:
    found = at.app.screen
    assert isinstance(found, CompareScreen)
    return found


async def compare(at: Stage, text: str = "") -> None:
    """Opens the screen, with something to ask or without."""
    await at.say(f"/compare {text}")
    await at.until(lambda: is_open(at))


async def ask(at: Stage, left: str = "Left.", right: str = "Right.") -> None:
    """Both replies to a question, one after the other."""
    await compare(at, "Which?")
    at.client.give(left)
    await at.until(lambda: at.clients[1].requests)
    at.clients[1].give(right)
    at.client.finish()
    at.clients[1].finish()
    await at.until(lambda: not at.chat.is_busy and "2 keeps the right" in at.shown)


class Opening:
    """Opens engines as a test wants it: by default, those of the stage."""

    def __init__(self) -> None:
        self.clients = [PacedClient(), PacedClient(), PacedClient()]
        self.before: Callable[[str], object] = lambda name: None
        self._free = list(self.clients)

    def __call__(self, name: str) -> Engine:
        self.before(name)
        return Engine(self._free.pop(0), ModelRef(name, "/nowhere.gguf"), f"{name}-Q4")


@pytest.mark.parametrize("is_private", [False, True])
async def test_both_replies_are_shown_and_lie_beside_each_other(
    stage: Opened, is_private: bool
) -> None:
    async with stage(start=Start(is_private=is_private)) as at:
        await ask(at)
        assert "Left." in at.shown
        assert "Right." in at.shown
        assert at.shown.count("Which?") == 2
        for client in at.clients:
            assert [one.content for one in client.requests[0].messages] == ["Which?"]
            assert client.requests[0].private == is_private
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Left."]
        left, right = at.chat.alternatives[at.chat.messages[-1].id]
        assert at.chat.message(right).content == "Right."
        assert "1/2" in at.shown
        assert at.main.chat_pane.prompt.text == ""
        assert left == at.chat.messages[-1].id


@pytest.mark.parametrize("is_private", [False, True])
async def test_the_right_reply_is_kept_with_what_it_was_asked_with(
    stage: Opened, places: Paths, is_private: bool
) -> None:
    opening = Opening()
    async with stage(start=Start(is_private=is_private), open_engine=opening) as at:
        at.clients[:] = opening.clients
        await compare(at)
        other = replace(at.chat.settings, model="another", sampling={"temperature": 0.25})
        screen(at)._comparison.other = other
        await at.pilot.press(*"Which?", "enter")
        at.client.give("Left.")
        at.client.finish()
        await at.until(lambda: at.clients[1].requests)
        assert at.clients[1].requests[0].params.temperature == 0.25
        assert at.client.requests[0].params.temperature != 0.25
        at.clients[1].give("Right.")
        at.clients[1].finish()
        await at.until(lambda: "2 keeps the right" in at.shown)
        await at.pilot.press("2")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Right."]
        assert "2/2" in at.shown
        assert (at.chat.settings, at.chat.quantization) == (other, "another-Q4")
        if not is_private:
            kept = at.main.chats.history.store().conversation(at.chat.id or "")
            assert (kept.settings["model"], kept.leaf) == ("another", at.chat.messages[-1].id)


async def test_the_left_reply_is_kept_with_the_settings_of_the_chat(stage: Opened) -> None:
    async with stage() as at:
        await compare(at)
        before = at.chat.settings
        screen(at)._comparison.other = replace(before, sampling={"temperature": 0.25})
        await at.pilot.press("escape")
        await ask(at)
        await at.pilot.press("1")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Left."]
        assert at.chat.settings == before


async def test_it_goes_on_from_the_conversation(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("One", "First.")
        await ask(at)
        for client in at.clients:
            said = [one.content for one in client.requests[-1].messages]
            assert said == ["One", "First.", "Which?"]
        await at.pilot.press("2")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["One", "First.", "Which?", "Right."]
        await at.say("And then?")
        await at.until(lambda: len(at.clients[0].requests + at.clients[1].requests) == 4)
        answering = max(at.clients, key=lambda client: len(client.requests[-1].messages))
        answering.give("Then.")
        answering.finish()
        await at.until(lambda: contents(at)[-2:] == ["And then?", "Then."])


async def test_esc_stops_both_and_then_closes(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        at.client.give("Le")
        await at.until(lambda: at.clients[1].requests)
        at.clients[1].give("Ri")
        await at.until(lambda: "Le" in at.shown and "Ri" in at.shown)
        assert "Esc stops both" in at.shown
        await at.pilot.press("1", "2")  # not while they are written
        assert is_open(at)
        await at.pilot.press("escape")
        await at.until(lambda: "Esc closes" in at.shown)
        assert is_open(at)
        assert not at.main.chats.busy
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        tree = at.main.chats.history.store().tree(at.chat.id or "")
        assert [(one.content, one.state) for one in tree[1:]] == [
            ("Le", "incomplete"),
            ("Ri", "incomplete"),
        ]
        assert contents(at) == ["Which?", "Le"]


@pytest.mark.parametrize("keys", ["11", "21", "12", ["escape", "escape"], ["1", "escape"]])
async def test_keys_that_come_twice_close_it_once(stage: Opened, keys: list[str]) -> None:
    async with stage() as at:
        await ask(at)
        compared = screen(at)
        for key in keys:
            if key == "escape":
                compared.action_leave()
            else:
                compared.action_keep("left" if key == "1" else "right")
        await at.until(lambda: not is_open(at))
        await at.pilot.pause()
        assert at.app.screen is at.main


async def test_the_left_side_fails_and_the_right_is_kept(stage: Opened) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        await at.until(lambda: at.clients[1].requests)
        at.client.fail("It can't be.")
        at.clients[1].give("Right.")
        at.clients[1].finish()
        await at.until(lambda: "2 keeps the right" in at.shown)
        assert any("It can't be." in note for note in at.notes)
        await at.pilot.press("2")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Right."]
        assert at.main.chat_pane.prompt.text == ""


async def test_nothing_came_of_the_left_side_and_it_is_closed(stage: Opened) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        await at.until(lambda: at.clients[1].requests)
        for client in at.clients:
            client.fail("It can't be.")
        await at.until(lambda: "2 keeps the right" in at.shown)
        assert at.main.chat_pane.prompt.text == ""
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        assert at.main.chat_pane.prompt.text == "Which?"


@pytest.mark.parametrize("end", ["fails", "dies"])
async def test_the_right_side_fails_and_the_left_stays(stage: Opened, end: str) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        await at.until(lambda: at.clients[1].requests)
        if end == "fails":
            at.clients[1].event(Failed("", "EngineFailed", "It can't be.", None))
        else:
            at.clients[1].die()
        await at.until(lambda: at.notes)
        at.client.give("Left.")
        at.client.finish()
        await at.until(lambda: "2 keeps the right" in at.shown)
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Left."]
        at.main.chat_pane.show(at.main.chats.open(at.chat.id or ""))
        stored = at.main.chats.history.store().path(at.chat.id or "")
        assert [one.content for one in stored] == ["Which?", "Left."]


async def test_there_is_no_right_side_to_keep(stage: Opened) -> None:
    opening = Opening()

    def only_one(name: str) -> None:
        if name == "missing":
            raise ModelNotFound("There is no model 'missing'.", "/model")

    opening.before = only_one
    async with stage(open_engine=opening) as at:
        at.clients[:] = opening.clients
        await compare(at)
        before = at.chat.settings
        screen(at)._comparison.other = replace(before, model="missing")
        at.client.give("Left.")
        at.client.finish()
        await at.pilot.press(*"Which?", "enter")
        await at.until(lambda: "2 keeps the right" in at.shown and not at.chat.is_busy)
        assert any("no model 'missing'" in note for note in at.notes)
        await at.pilot.press("2")
        await at.until(lambda: any("no reply on the right" in note for note in at.notes))
        assert is_open(at)
        assert at.chat.settings == before
        await at.pilot.press("1")
        await at.until(lambda: not is_open(at))
        assert contents(at) == ["Which?", "Left."]


async def test_the_prompt_comes_back_when_the_left_side_can_not_begin(stage: Opened) -> None:
    async with stage(clients=3) as at:
        engines = at.main.chats.engines
        opens = engines._open
        engines._idle.clear()

        def refuse(name: str) -> Engine:
            raise LocalchatError(f"{name} can't be loaded.", "localchat doctor")

        engines._open = refuse
        await compare(at, "Which?")
        prompt = screen(at).query_one(Prompt)
        await at.until(lambda: prompt.text == "Which?" and prompt.display)
        assert "can't be loaded" in at.notes[-1]
        assert at.main.chat_pane.prompt.text == ""
        await at.until(lambda: not screen(at).column("left").transcript.turns)
        engines._open = opens
        await at.pilot.press("enter")
        await at.until(lambda: at.clients[2].requests)
        for client, reply in zip(at.clients[1:], ("Left.", "Right."), strict=True):
            client.give(reply)
            client.finish()
        await at.until(lambda: "2 keeps the right" in at.shown)
        assert contents(at) == ["Which?", "Left."]


async def test_esc_while_the_model_is_loaded_gives_the_prompt_back(stage: Opened) -> None:
    may_go_on = threading.Event()
    async with stage() as at:
        engines = at.main.chats.engines
        opens = engines._open
        engines._idle.clear()

        def slow(name: str) -> Engine:
            may_go_on.wait(10)
            return opens(name)

        engines._open = slow
        await compare(at, "Which?")
        await at.pilot.press("escape")
        may_go_on.set()
        prompt = screen(at).query_one(Prompt)
        await at.until(lambda: prompt.text == "Which?" and prompt.display)
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        assert at.main.chat_pane.prompt.text == "Which?"
        assert "Which?" not in contents(at)


async def test_what_was_not_asked_goes_back_to_the_prompt_of_the_chat(stage: Opened) -> None:
    async with stage() as at:
        await compare(at)
        await at.pilot.press(*"Half a", "escape")
        await at.until(lambda: not is_open(at))
        assert at.main.chat_pane.prompt.text == "Half a"
        await at.pilot.press("f4")
        await at.until(lambda: is_open(at))
        await at.pilot.press(*"Other", "escape")
        await at.until(lambda: not is_open(at))
        assert at.main.chat_pane.prompt.text == "Half a"  # which is not replaced


async def test_other_settings_on_the_right(stage: Opened) -> None:
    async with stage() as at:
        await compare(at)
        assert "temperature" not in at.shown
        await at.pilot.press("f2")
        await at.until(lambda: isinstance(at.app.screen, SettingsPanel))
        at.app.screen.dismiss(replace(at.chat.settings, sampling={"temperature": 0.25}))
        await at.until(lambda: is_open(at) and "temperature 0.25" in at.shown)
        assert "temperature default" in at.shown
        await at.pilot.press("ctrl+o")
        await at.until(lambda: isinstance(at.app.screen, ModelPicker))
        at.app.screen.dismiss("another")
        await at.until(lambda: is_open(at) and "another" in at.shown)
        assert screen(at)._comparison.other.sampling == {"temperature": 0.25}
        assert at.chat.settings.model != "another"


async def test_nothing_chosen_changes_nothing(stage: Opened) -> None:
    async with stage() as at:
        await compare(at)
        for key in ("f2", "ctrl+o"):
            await at.pilot.press(key)
            await at.until(lambda: isinstance(at.app.screen, SettingsPanel | ModelPicker))
            await at.pilot.press("escape")
            await at.until(lambda: is_open(at))
        assert screen(at)._comparison.other == at.chat.settings


async def test_what_is_asked_with_does_not_change_any_more(stage: Opened) -> None:
    async with stage() as at:
        await ask(at)
        await at.pilot.press("f2", "ctrl+o")
        await at.pilot.pause()
        assert is_open(at)


async def test_not_while_a_reply_is_written(stage: Opened) -> None:
    async with stage() as at:
        await at.say("One")
        at.client.give("Yes")
        await at.until(lambda: at.chat.live and at.chat.live.content)
        await at.say("/compare Which?")
        await at.until(lambda: any("is being written" in note for note in at.notes))
        assert not is_open(at)


async def test_leaving_keeps_what_came_of_both(stage: Opened, places: Paths) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        at.client.give("Le")
        await at.until(lambda: at.clients[1].requests)
        at.clients[1].give("Ri")
        await at.until(lambda: "Le" in at.shown and "Ri" in at.shown)
        await at.pilot.press("ctrl+q")
    with Store.open(places) as store:
        (kept,) = store.newest()
        tree = store.tree(kept.conversation.id)
    assert [(one.content, one.state) for one in tree[1:]] == [
        ("Le", "incomplete"),
        ("Ri", "incomplete"),
    ]


async def test_a_reply_shows_under_another_screen_too(stage: Opened) -> None:
    async with stage() as at:
        await compare(at, "Which?")
        await at.until(lambda: at.clients[1].requests)
        compared = screen(at)
        await at.pilot.press("ctrl+p")
        at.client.give("Left.")
        at.client.finish()
        at.clients[1].give("Right.")
        at.clients[1].finish()
        await at.until(lambda: not at.chat.is_busy)
        await at.pilot.press("escape")
        await at.until(lambda: at.app.screen is compared and "Left." in at.shown)
        await at.until(lambda: "Right." in at.shown)


async def test_another_chat_is_none_of_its_business(stage: Opened) -> None:
    async with stage(clients=3) as at:
        await at.say("Behind")
        at.client.give("Still")
        await at.until(lambda: at.chat.live and at.chat.live.content)
        at.main.action_command("new")
        await at.until(lambda: not at.chat.messages)
        at.clients.append(at.clients.pop(0))
        await compare(at, "Which?")
        await at.until(lambda: at.clients[1].requests)
        at.clients[2].give(" here.")
        at.clients[2].finish()
        at.client.give("Left.")
        at.client.finish()
        at.clients[1].finish()
        await at.until(lambda: not at.main.chats.busy and "2 keeps the right" in at.shown)
        assert "here." not in at.shown


async def test_another_chat_that_ends_does_not_give_the_prompt_back(stage: Opened) -> None:
    may_go_on = threading.Event()
    async with stage() as at:
        await at.say("Behind")
        at.client.give("Still")
        await at.until(lambda: at.chat.live and at.chat.live.content)
        behind = at.chat
        at.main.action_command("new")
        await at.until(lambda: not at.chat.messages)
        engines = at.main.chats.engines
        opens = engines._open

        def slow(name: str) -> Engine:
            may_go_on.wait(10)
            return opens(name)

        engines._open = slow
        await compare(at, "Which?")
        at.client.finish()
        await at.until(lambda: not behind.is_busy and behind.is_unseen)
        assert not screen(at).query_one(Prompt).display
        at.main.chat.stop()
        may_go_on.set()
        await at.until(lambda: not at.chat.is_busy)


async def test_what_was_read_last_is_shown(stage: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    has_read, may_go_on = threading.Event(), threading.Event()
    async with stage() as at:
        message = at.chat.message

        def slow(id_: int) -> StoredMessage:
            found = message(id_)
            if not has_read.is_set():
                has_read.set()
                may_go_on.wait(10)
            return found

        monkeypatch.setattr(at.chat, "message", slow)
        await compare(at, "Which?")
        await at.until(lambda: has_read.is_set() and at.clients[1].requests)
        turns = screen(at).column("left").transcript.turns
        at.client.give("Left.")
        at.client.finish()
        at.clients[1].finish()
        await at.until(lambda: "2 keeps the right" in at.shown and "Left." in at.shown)
        may_go_on.set()
        await at.pilot.pause(0.05)
        assert turns[-1].message.state == "complete"


async def test_what_comes_after_it_was_closed_is_nothing_to_it(stage: Opened) -> None:
    async with stage() as at:
        await ask(at)
        compared = screen(at)
        await at.pilot.press("escape")
        await at.until(lambda: not is_open(at))
        compared._hear_left(at.chat, "ended")  # it was on its way
        assert at.app.screen is at.main


@pytest.mark.parametrize("size", [(60, 20), (30, 8), (1, 1)])
async def test_where_it_is_narrow_they_lie_above_each_other(
    stage: Opened, size: tuple[int, int]
) -> None:
    async with stage() as at:
        await ask(at)
        left, right = at.app.screen.query(Column)
        assert (left.region.y, right.region.x) == (right.region.y, left.region.right)
        await at.pilot.resize_terminal(*size)
        await at.pilot.pause()
        assert left.region.x == right.region.x
        assert right.region.y >= left.region.bottom or size == (1, 1)
        if size == (60, 20):
            assert "Left." in at.shown
            assert "Right." in at.shown
            assert "Esc closes" in at.shown
