"""Edits, further replies, and replies that go on."""

from __future__ import annotations

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.errors import (
    ConversationNotFound,
    EngineDied,
    ReplyInProgress,
    UsageError,
)
from localchat.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
)
from localchat.session.ephemeral import Ephemeral
from localchat.session.options import Options
from localchat.session.session import Turns
from localchat.store.records import Outcome, Provenance
from localchat.store.store import Store
from localchat.types import (
    Choice,
    Message,
    PartialReply,
    SamplingParams,
    Timings,
    Usage,
)
from tests.session import Dying, failed, said, say, session, text_of


class TestBranches:
    def test_another_reply_stands_beside_the_first(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Grey."])
        talk = session(client, turns)
        say(talk, "Sky?")
        first = talk.path()[-1]
        assert text_of(talk.regenerate()) == "Grey."
        assert said(talk.path()) == [("user", "Sky?"), ("assistant", "Grey.")]
        assert turns.message(first.id) == first
        assert client.requests[1].messages == client.requests[0].messages

    def test_without_another_reply_the_first_one_stays(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], failed(), ["Yes."])
        talk = session(client, turns)
        say(talk, "Sky?")
        list(talk.regenerate())
        say(talk, "Always?")
        assert [content for _, content in said(talk.path())] == ["Sky?", "Blue.", "Always?", "Yes."]

    def test_an_edited_question_is_answered_anew(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Yes."], ["Green."])
        talk = session(client, turns, system="Be brief.")
        say(talk, "Sky?")
        say(talk, "Always?")
        asked = talk.path()[1]
        text_of(talk.edit(asked.id, "Grass?"))
        assert said(talk.path())[1:] == [("user", "Grass?"), ("assistant", "Green.")]
        assert client.requests[2].messages == (
            Message("system", "Be brief."),
            Message("user", "Grass?"),
        )

    def test_an_edited_reply_goes_on_after_its_new_text(self, turns: Turns) -> None:
        client = ScriptedClient([ReasoningDelta("", "Hm"), "Blue."], [" but dark."])
        talk = session(client, turns)
        say(talk, "Sky?")
        assert text_of(talk.edit(talk.path()[-1].id, "Blue,")) == " but dark."
        assert client.requests[1].partial_reply == PartialReply("Blue,", "Hm")
        assert client.requests[1].messages == (Message("user", "Sky?"),)
        reply = talk.path()[-1]
        assert (reply.content, reply.state) == ("Blue, but dark.", "complete")
        written, made = reply.generations
        assert written.provenance.params == {}, "no model has made it"
        assert (made.content_from, made.reasoning_from) == (len("Blue,"), len("Hm"))

    def test_a_reply_that_was_cut_goes_on(self, turns: Turns) -> None:
        client = Dying([ReasoningDelta("", "Hm"), "Bl"])
        talk = session(client, turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        again = ScriptedClient([TextDelta("", "ue.")])
        talk = session(again, turns, conversation=talk.conversation)
        assert text_of(talk.continue_reply()) == "ue."
        assert again.requests[0].partial_reply == PartialReply("Bl", "Hm")
        assert talk.path()[-1].content == "Blue."
        assert talk.path()[-1].state == "complete"

    def test_only_a_last_reply_goes_on(self, turns: Turns) -> None:
        talk = session(ScriptedClient(["Blue."], ["Yes."]), turns)
        say(talk, "Sky?")
        first = talk.path()[-1]
        say(talk, "Always?")
        with pytest.raises(UsageError):
            talk.continue_reply(first.id)
        with pytest.raises(UsageError):
            talk.continue_reply(talk.path()[0].id)
        with pytest.raises(ConversationNotFound):
            talk.regenerate(talk.path()[0].id + 100)

    def test_a_reply_that_another_process_writes_is_waited_for(
        self, store: Store, seen: Store
    ) -> None:
        begun = seen.start_turn(None, "Sky?", provenance=Provenance("m"))
        talk = session(ScriptedClient(), store, conversation=begun.conversation)
        with pytest.raises(ReplyInProgress):
            talk.send("Always?")
        with pytest.raises(ReplyInProgress):
            talk.continue_reply()


class TestSeveral:
    ENDS = (Choice("stop", 2, 7), Choice("length", 3, 8))

    def test_they_are_siblings_and_the_first_is_current(self, turns: Turns) -> None:
        script: list[str | Event] = [
            TextDelta("", "Grey", 1),
            TextDelta("", "Blue.", 0),
            ReasoningDelta("", "Hm", 1),
            Finished("", "stop", Usage(5, 1, 5), Timings(0.0, 0.0, 0.0), 7, self.ENDS),
        ]
        several = Options(SamplingParams(seed=7, n=2))
        talk = session(ScriptedClient(script), turns, options=several)
        list(talk.send("Sky?"))
        first, second = (turns.message(reply) for reply in talk.replies)
        assert talk.path()[-1] == first
        assert first.parent == second.parent
        assert (first.content, first.reasoning) == ("Blue.", "")
        assert (second.content, second.reasoning) == ("Grey", "Hm")
        ends = [reply.generations[0] for reply in (first, second)]
        assert [(end.finish_reason, end.seed, end.usage) for end in ends] == [
            ("stop", 7, Usage(5, 1, 2)),
            ("length", 8, Usage(5, 1, 3)),
        ]
        assert [end.provenance.params["seed"] for end in ends] == [7, 8]


def test_memory_follows_a_branch_to_its_newest_message() -> None:
    memory = Ephemeral()
    turn = memory.start_turn(None, "Sky?", provenance=Provenance("m"))
    memory.finish(turn.reply, "Blue.", "", Outcome("complete"))
    later = memory.start_turn(None, "Always?", provenance=Provenance("m"))
    memory.regenerate(turn.reply, Provenance("m"))
    assert len(memory.path("")) == 2
    assert memory.set_leaf(turn.reply) == later.reply
    assert len(memory.path("")) == 4
