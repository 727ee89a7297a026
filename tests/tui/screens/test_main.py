from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.strip import Strip

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.store.store import Store
from localchat.tui.screens import main
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.transcript.sheet import Sheet
from tests.tui.conftest import Opened


async def test_a_turn_is_shown_and_kept(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Why is the sky blue?")
        at.client.give("Because of **Rayleigh** scattering.")
        at.client.finish()
        await at.until(lambda: at.chat.last_reply and not at.chat.is_busy)
        assert "Rayleigh scattering" in at.shown.replace("  ", " ")
        stored = at.main.chats.history.store().path(at.chat.id or "")
        assert [one.content for one in stored] == [
            "Why is the sky blue?",
            "Because of **Rayleigh** scattering.",
        ]


async def test_what_is_sent_shows_at_once_while_the_model_is_loaded(stage: Opened) -> None:
    import threading

    from localchat.tui.chats.engines import Engine
    from localchat.types import ModelRef
    from tests.tui.paced import PacedClient

    may_go_on = threading.Event()
    client = PacedClient()

    def slow(name: str) -> Engine:
        may_go_on.wait(10)
        return Engine(client, ModelRef(name, "/nowhere.gguf"))

    async with stage() as at:
        at.main.chats.engines._idle.clear()
        at.main.chats.engines._open = slow
        await at.say("Hello there")
        await at.until(lambda: "Hello there" in at.shown)
        assert "loading" in at.shown
        may_go_on.set()
        client.give("Hi.")
        client.finish()
        await at.until(lambda: not at.chat.is_busy)
        assert at.shown.count("Hello there") == 2  # in the list, and in the transcript


async def test_esc_stops_and_keeps_what_came(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Count")
        at.client.give("One, two")
        await at.until(lambda: "One, two" in at.shown)
        await at.pilot.press("escape")
        await at.until(lambda: not at.chat.is_busy)
        last = at.chat.last_reply
        assert last is not None
        assert (last.content, last.state) == ("One, two", "incomplete")


async def test_the_prompt_comes_back_when_a_turn_fails(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Too long")
        at.client.fail("The prompt is longer than the context.", "Shorten it.")
        await at.until(lambda: not at.chat.is_busy)
        assert at.main.chat_pane.prompt.text == "Too long"
        assert any("longer than the context" in note for note in at.notes)


async def test_the_prompt_comes_back_when_there_is_no_engine(stage: Opened) -> None:
    async with stage() as at:
        at.main.chats.engines._idle.clear()

        def refuse(name: str) -> None:
            raise LocalchatError(f"{name} can't be loaded.", "localchat doctor")

        at.main.chats.engines._open = refuse  # type: ignore[assignment]
        await at.say("Are you there?")
        await at.until(lambda: not at.chat.is_busy)
        assert at.main.chat_pane.prompt.text == "Are you there?"
        assert "can't be loaded" in at.notes[-1]
        assert at.chat.messages == []


async def test_an_engine_that_dies_leaves_what_came_and_can_be_asked_again(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Tell me a story")
        at.client.give("Once upon a")
        await at.until(lambda: "Once upon a" in at.shown)
        at.client.die()
        await at.until(lambda: not at.chat.is_busy)
        assert at.chat.last_reply is not None
        assert at.chat.last_reply.content == "Once upon a"
        assert at.notes
        at.clients[1].give(" time.")
        at.clients[1].finish()
        await at.pilot.press("ctrl+l")
        await at.until(lambda: not at.chat.is_busy and at.clients[1].requests)
        assert at.chat.last_reply.content == "Once upon a time."


async def test_another_chat_goes_on_behind_the_one_on_the_screen(stage: Opened) -> None:
    async with stage() as at:
        await at.say("First question")
        at.client.give("Still")
        await at.until(lambda: "Still" in at.shown)
        first = at.chat
        await at.pilot.press("ctrl+n")
        await at.until(lambda: at.chat is not first)
        await at.say("Second question")
        at.clients[1].give("Quick.")
        at.clients[1].finish()
        await at.until(lambda: not at.chat.is_busy)
        at.client.give(" here.")
        at.client.finish()
        await at.until(lambda: not first.is_busy)
        assert first.is_unseen
        await at.main.open(first.id or "")
        await at.until(lambda: "Still here." in at.shown)
        assert not first.is_unseen


async def test_a_key_draws_the_prompt_and_nothing_beside_it(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage() as at:
        await at.take_turn("Hello", "A **reply**.")
        await at.pilot.press("a")
        layouts, rows, looked_up = [], [], []
        reflow, line, keys = Compositor.reflow, Sheet.render_line, Prompt._keys

        def count_layout(self: Compositor, *given: Any, **named: Any) -> Any:
            layouts.append(self)
            return reflow(self, *given, **named)

        def count_row(self: Sheet, y: int) -> Strip:
            rows.append(y)
            return line(self, y)

        def count_keys(self: Prompt) -> Mapping[str, str]:
            looked_up.append(self)
            return keys(self)

        monkeypatch.setattr(Prompt, "_keys", count_keys)
        monkeypatch.setattr(Compositor, "reflow", count_layout)
        monkeypatch.setattr(Sheet, "render_line", count_row)
        await at.pilot.press("b", "c", "backspace")
        assert "ab" in at.shown
        assert (layouts, rows, looked_up) == ([], [], [])
        at.main.chat_pane.transcript.refresh()
        await at.pilot.pause()
        assert rows  # that is how they would have been seen


async def test_counts_do_not_change_with_every_token(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_READABLE", 1000.0)
    async with stage() as at:
        await at.take_turn("Hello", "One.")
        line = at.main.status_line
        await at.say("More")
        at.client.give("First")
        await at.until(lambda: "First" in at.shown)
        assert line.phase == "generating"
        used = line.context_used
        at.client.give(" second", tokens=400)
        await at.until(lambda: "First second" in at.shown)
        assert at.chat.context_used != used
        assert line.context_used == used
        at.client.finish()
        await at.until(lambda: not at.chat.is_busy)
        assert line.context_used == at.chat.context_used


async def test_the_last_count_is_shown_though_nothing_more_comes(stage: Opened) -> None:
    async with stage() as at:
        await at.say("Count")
        at.client.give("One", tokens=4)
        await at.until(lambda: "One" in at.shown)
        at.client.give(" two", tokens=400)
        await at.until(lambda: "One two" in at.shown)
        await at.until(lambda: at.main.status_line.context_used == at.chat.context_used)
        assert at.chat.is_busy


async def test_the_history_is_checked_once_a_day(stage: Opened, places: Paths) -> None:
    with Store.open(places) as store:
        store._database._lock.set_checked(0.0)
        assert store.is_check_due
    async with stage() as at:
        await at.until(lambda: not at.main.chats.history.store().is_check_due)


async def test_damage_that_a_check_finds_is_told(
    stage: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "notes", ("The history was damaged.",))
    async with stage() as at:
        await at.until(lambda: "The history was damaged." in at.notes)
