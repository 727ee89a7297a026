"""A conversation as it goes on: what the engine is sent, and what is on disk at each moment.

The store is a real one, looked at through a connection of its own.
"""

from __future__ import annotations

from typing import Any

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.errors import UsageError
from localchat.events import (
    Finished,
    PrefillProgress,
    ReasoningDelta,
    TextDelta,
    Trimmed,
)
from localchat.session.ephemeral import Ephemeral
from localchat.session.options import Options, to_json
from localchat.session.session import Turns
from localchat.store.records import Provenance, Trim
from localchat.store.store import Store
from localchat.types import (
    GenerationRequest,
    Message,
    PartialReply,
    Timings,
    Usage,
)
from tests.session import GREEDY, Clock, failed, said, say, session


class TestOrder:
    def test_a_turn_is_on_disk_before_the_engine_sees_it(self, store: Store, seen: Store) -> None:
        class Looking(ScriptedClient):
            def submit(self, request: GenerationRequest) -> None:
                assert request.conversation is not None
                path = seen.path(request.conversation)
                looked.append((said(path), path[-1].state))
                super().submit(request)

        looked: list[Any] = []
        client = Looking(["Blue."], ["Yes."])
        talk = session(client, store, system="Be brief.")
        say(talk, "Sky?")
        say(talk, "Always?")
        begun = [("system", "Be brief."), ("user", "Sky?"), ("assistant", "")]
        assert looked[0] == (begun, "generating")
        assert looked[1][0][2:] == [("assistant", "Blue."), ("user", "Always?"), ("assistant", "")]
        assert client.requests[1].messages == (
            Message("system", "Be brief."),
            Message("user", "Sky?"),
            Message("assistant", "Blue."),
            Message("user", "Always?"),
        )

    def test_a_reply_is_on_disk_when_its_end_is_told(self, store: Store, seen: Store) -> None:
        end = Finished("", "stop", Usage(9, 4, 2), Timings(0.1, 0.2, 0.3), 7)
        talk = session(ScriptedClient([ReasoningDelta("", "Hm"), "Bl", "ue.", end]), store)
        for event in talk.send("Sky?"):
            if isinstance(event, Finished):
                assert talk.turn is not None
                reply = seen.message(talk.turn.reply)
        assert (reply.content, reply.reasoning, reply.state) == ("Blue.", "Hm", "complete")
        (made,) = reply.generations
        assert (made.finish_reason, made.seed, made.usage, made.timings) == (
            "stop",
            7,
            Usage(9, 4, 2),
            Timings(0.1, 0.2, 0.3),
        )
        assert made.provenance == Provenance("small", "ab", None, None, to_json(GREEDY))

    def test_text_is_on_disk_before_it_is_two_seconds_old(self, store: Store, seen: Store) -> None:
        clock = Clock()
        pieces = [str(number % 10) for number in range(40)]
        talk = session(ScriptedClient(pieces), store, clock=clock)
        came: list[tuple[float, str]] = []
        text = ""
        for event in talk.send("Count"):
            if isinstance(event, TextDelta):
                assert talk.turn is not None
                text += event.text
                came.append((clock.now, text))
                kept = seen.message(talk.turn.reply).content
                assert kept.startswith(max((t for w, t in came if clock.now - w >= 2), default=""))
                clock.now += 0.3
        assert text == "".join(pieces)

    def test_checkpoints_are_not_made_for_each_piece(self, store: Store) -> None:
        clock, made = Clock(), []
        checkpoint = store.checkpoint
        store.checkpoint = lambda *given: made.append(given) or checkpoint(*given)  # type: ignore[method-assign,func-returns-value]
        talk = session(ScriptedClient(["x"] * 100), store, clock=clock)
        for _ in talk.send("Go"):
            clock.now += 0.025
        assert len(made) == 2  # of two seconds and a half

    def test_a_silent_engine_leaves_nothing_to_write(self, store: Store) -> None:
        clock = Clock()
        store.checkpoint = lambda *_: pytest.fail("there was no text")  # type: ignore[method-assign]
        progress = [PrefillProgress("", number, 9) for number in range(9)]
        talk = session(ScriptedClient(progress), store, clock=clock)
        for _ in talk.send("Go"):
            clock.now += 5


class TestTrim:
    def test_what_the_model_did_not_see_is_told_by_ids(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], [], [Trimmed("", (1, 2), "About the sky."), "Yes."])
        talk = session(client, turns, system="Be brief.", options=GREEDY._replace(overflow="drop"))
        say(talk, "Sky?")
        say(talk, "Always?")
        say(talk, "I mean, at night too?")
        _, asked, first, _, _, again, reply = talk.path()
        assert client.requests[2].overflow == "drop"
        assert reply.generations[0].trim == Trim((asked.id, first.id), "About the sky.")
        assert again.content == "I mean, at night too?"


class TestRequests:
    def test_a_private_conversation_says_so_and_stays_out_of_the_store(self, seen: Store) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, None)
        say(talk, "Sky?")
        say(talk, "Always?")
        assert [request.private for request in client.requests] == [True, True]
        assert len(client.requests[1].messages) == 3
        assert seen.stats().messages == 0
        assert not session(ScriptedClient(), seen).is_private

    def test_a_stored_conversation_names_its_snapshots(self, store: Store) -> None:
        client = ScriptedClient(["Blue."])
        talk = session(client, store)
        say(talk, "Sky?")
        (request,) = client.requests
        assert (request.private, request.conversation) == (False, talk.conversation)

    def test_a_seed_is_drawn_before_so_that_any_reply_can_be_made_again(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, turns, options=Options())
        seeds = []
        for number, text in enumerate(("Sky?", "Always?")):
            say(talk, text)
            (made,) = talk.path()[-1].generations
            seeds.append(made.provenance.params["seed"])
            assert client.requests[number].params.seed == seeds[-1]
        assert seeds[0] != seeds[1]

    @pytest.mark.parametrize(
        ("own", "system", "shown"),
        [
            ("Be brief.", None, ["Be brief."]),
            ("Be brief.", "Be long.", ["Be long."]),
            ("Be brief.", "", []),
            (None, "Be long.", ["Be long."]),
        ],
    )
    def test_instructions_can_be_replaced_without_a_trace_in_what_was_said(
        self, turns: Turns, own: str | None, system: str | None, shown: list[str]
    ) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, turns, system=own)
        say(talk, "Sky?")
        before = talk.path()
        talk.options = GREEDY._replace(system=system)
        preview = talk.preview("Always?")
        say(talk, "Always?")
        messages = client.requests[1].messages
        assert messages == preview.messages
        assert [one.content for one in messages if one.role == "system"] == shown
        assert [one.content for one in messages][-3:] == ["Sky?", "Blue.", "Always?"]
        assert messages[: len(shown)] == tuple(Message("system", text) for text in shown)
        assert talk.path()[: len(before)] == before

    def test_a_preview_is_what_would_be_sent(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], [], ["Yes."])
        talk = session(client, turns, system="Be brief.")
        for text in ("Sky?", "Hm?", "Always?"):
            before = talk.path()
            preview = talk.preview(text)
            assert preview.render_only
            assert talk.path() == before
            say(talk, text)
            assert client.requests[-1].messages == preview.messages

    def test_without_a_text_it_is_what_the_model_has_seen(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], [ReasoningDelta("", "Hm"), "Yes."])
        talk = session(client, turns, system="Be brief.")
        assert talk.preview().messages == (Message("system", "Be brief."),)
        say(talk, "Sky?")
        events = talk.send("Always?")
        assert talk.preview().messages == client.requests[1].messages
        list(events)
        preview = session(client, turns, conversation=talk.conversation, system="B").preview()
        assert preview.render_only
        assert preview.messages == client.requests[1].messages
        assert preview.partial_reply == PartialReply("Yes.", "Hm")
        turns.go_back(talk.conversation or "", talk.path()[3].id)
        assert talk.preview().messages == client.requests[1].messages
        assert talk.preview().partial_reply is None

    def test_there_is_nothing_to_preview_in_a_new_conversation(self, turns: Turns) -> None:
        with pytest.raises(UsageError):
            session(ScriptedClient(), turns).preview()

    def test_a_private_conversation_has_one_system_prompt(self) -> None:
        memory = Ephemeral()
        client = ScriptedClient(failed(), ["Blue."], ["Yes."])
        for text in ("Sky?", "Sky, I mean?", "Always?"):
            talk = session(client, memory, system="Be brief.")  # as a screen makes one for each
            preview = talk.preview(text)
            say(talk, text)
            assert client.requests[-1].messages == preview.messages
        roles = [message.role for message in client.requests[-1].messages]
        assert roles == ["system", "user", "assistant", "user"]
