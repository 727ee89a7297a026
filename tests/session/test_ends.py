"""How replies end, and what a conversation goes on from then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.errors import (
    EngineDied,
    HistoryFailed,
    InputError,
    LocalchatError,
)
from localchat.events import (
    Event,
    Failed,
    Finished,
)
from localchat.session.session import Turns
from localchat.store.store import Store
from localchat.types import (
    GenerationRequest,
    Message,
)
from tests.session import Clock, Dying, failed, said, say, session, text_of


class TestEnds:
    def test_a_failed_reply_keeps_the_prompt(self, turns: Turns) -> None:
        talk = session(ScriptedClient(failed()), turns)
        assert [type(event) for event in talk.send("Sky?")] == [Failed]
        asked, reply = talk.path()
        assert (asked.content, reply.state) == ("Sky?", "failed")
        assert reply.generations[0].error == "It is too long."

    def test_after_a_failure_the_next_words_take_its_place(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], failed(), ["Yes."])
        talk = session(client, turns)
        say(talk, "Sky?")
        say(talk, "Always? " * 99)
        say(talk, "Always?")
        assert said(talk.path())[2:] == [("user", "Always?"), ("assistant", "Yes.")]
        assert len(client.requests[2].messages) == 3

    def test_a_first_turn_that_failed_is_replaced_with_its_system_prompt(
        self, turns: Turns
    ) -> None:
        client = ScriptedClient(failed(), failed(), ["Blue."])
        talk = session(client, turns, system="Be brief.")
        for text in ("Sky? " * 99, "Sky? " * 9, "Sky?"):
            say(talk, text)
        assert client.requests[2].messages == (
            Message("system", "Be brief."),
            Message("user", "Sky?"),
        )

    def test_an_engine_that_dies_leaves_what_came(self, turns: Turns) -> None:
        talk = session(Dying(["Bl", "ue"]), turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        reply = talk.path()[-1]
        assert (reply.content, reply.state) == ("Blue", "incomplete")
        assert reply.generations[0].error == "The engine ended without a word."

    def test_a_reply_that_is_left_alone_keeps_what_came_and_is_cancelled(
        self, turns: Turns
    ) -> None:
        client = ScriptedClient(["Bl", "ue", "."], ["Yes."])
        talk = session(client, turns)
        events = talk.send("Sky?")
        next(events)
        next(events)
        events.close()
        reply = talk.path()[-1]
        assert (reply.content, reply.state) == ("Blue", "incomplete")
        assert say(talk, "Go on") == "Yes.", "events of the one left alone are passed over"

    def test_an_interrupt_keeps_what_came(self, turns: Turns) -> None:
        class Interrupted(ScriptedClient):
            def events(self) -> Iterator[Event]:
                yield from list(super().events())[:2]
                raise KeyboardInterrupt

        talk = session(Interrupted(["Bl", "ue", "."]), turns)
        with pytest.raises(KeyboardInterrupt):
            say(talk, "Sky?")
        assert (talk.path()[-1].content, talk.path()[-1].state) == ("Blue", "incomplete")

    def test_a_cancelled_reply_is_incomplete(self, turns: Turns) -> None:
        talk = session(ScriptedClient(["Bl", "ue", "."]), turns)
        events = talk.send("Sky?")
        next(events)
        talk.cancel()
        assert [type(event) for event in events] == [Finished]
        reply = talk.path()[-1]
        assert (reply.content, reply.state) == ("Bl", "incomplete")
        assert reply.generations[0].finish_reason == "cancelled"

    def test_a_prompt_that_can_not_be_sent_is_a_failed_turn(self, turns: Turns) -> None:
        class Refusing(ScriptedClient):
            def submit(self, request: GenerationRequest) -> None:
                raise InputError("The prompt takes too many bytes.")

        talk = session(Refusing(), turns)
        with pytest.raises(InputError):
            talk.send("Sky?")
        assert (said(talk.path())[0], talk.path()[1].state) == (("user", "Sky?"), "failed")

    def test_words_around_a_reply_that_never_began_are_one_message(self, turns: Turns) -> None:
        """Templates insist on turns."""
        client = ScriptedClient([], ["Blue."])
        talk = session(client, turns)
        say(talk, "Sky?")
        talk.send("The colour, I mean.")
        assert client.requests[1].messages == (Message("user", "Sky?\n\nThe colour, I mean."),)


class TestTrouble:
    def test_a_store_that_can_not_be_written_does_not_end_a_reply(
        self, store: Store, seen: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise HistoryFailed("The disk is gone.")

        clock = Clock()
        talk = session(ScriptedClient(["Bl", "ue", "."], ["Yes."]), store, clock=clock)
        events = talk.send("Sky?")
        monkeypatch.setattr(store, "checkpoint", refuse)
        monkeypatch.setattr(store, "finish", refuse)
        text = ""
        for event in events:
            clock.now += 5
            text += text_of(iter([event]))
        assert text == "Blue."
        assert str(talk.trouble) == "The disk is gone."
        monkeypatch.undo()
        assert talk.turn is not None
        assert seen.message(talk.turn.user).content == "Sky?"

    def test_what_could_not_be_written_for_a_while_is_written_at_the_end(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        talk = session(ScriptedClient(["Bl", "ue", "."]), store, clock=clock)
        monkeypatch.setattr(store, "checkpoint", _out_of_room)
        for _ in talk.send("Sky?"):
            clock.now += 5
        assert talk.trouble is None
        assert talk.path()[-1].content == "Blue."

    def test_a_conversation_that_was_deleted_meanwhile(self, store: Store, seen: Store) -> None:
        talk = session(ScriptedClient(["Bl", "ue"]), store)
        events = talk.send("Sky?")
        next(events)
        assert talk.conversation is not None
        seen.delete([talk.conversation])
        list(events)
        assert talk.trouble is not None
        assert seen.stats().messages == 0


def _out_of_room(*_: Any) -> None:
    raise LocalchatError("There is no room.")
