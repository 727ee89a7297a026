"""Edits, further replies, and replies that go on."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

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
from localchat.session.session import Session, Turns
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


class TestWhereItIs:
    """What a screen shows of a tree, and how it moves in it."""

    def talk(self, turns: Turns, *answers: str, system: str | None = "Be brief.") -> Session:
        talk = session(ScriptedClient(*([answer] for answer in answers)), turns, system=system)
        say(talk, "Sky?")
        say(talk, "Always?")
        return talk

    def test_alternatives_are_told_of_the_current_path(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "No.", "Green.", "Grey.", system=None)
        conversation = talk.conversation or ""
        assert turns.alternatives(conversation) == {}
        asked, _, _, yes = (one.id for one in talk.path())
        text_of(talk.regenerate())
        no = talk.path()[-1].id
        assert turns.alternatives(conversation) == {no: (yes, no)}
        text_of(talk.edit(asked, "Grass?"))
        edited = talk.path()[0].id
        assert turns.alternatives(conversation) == {edited: (asked, edited)}
        turns.set_leaf(yes)
        assert turns.alternatives(conversation) == {asked: (asked, edited), yes: (yes, no)}

    def test_going_back_leaves_what_followed_as_a_branch(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "No.")
        path = talk.path()
        turns.go_back(talk.conversation or "", path[2].id)
        assert talk.path() == path[:3]
        say(talk, "At night?")
        assert [content for _, content in said(talk.path())][2:] == ["Blue.", "At night?", "No."]
        again = talk.path()[3].id
        assert turns.alternatives(talk.conversation or "") == {again: (path[3].id, again)}

    @pytest.mark.parametrize("system", ["Be brief.", None])
    def test_going_back_to_the_beginning_keeps_a_system_prompt(
        self, turns: Turns, system: str | None
    ) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "Green.", system=system)
        turns.go_back(talk.conversation or "", None)
        kept = [("system", system)] if system else []
        assert said(talk.path()) == kept
        turns.go_back(talk.conversation or "", None)
        say(talk, "Grass?")
        assert said(talk.path()) == [*kept, ("user", "Grass?"), ("assistant", "Green.")]

    def test_what_is_deleted_goes_with_all_that_followed(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "No.", "Maybe.")
        path = talk.path()
        text_of(talk.regenerate())
        no = talk.path()[-1].id
        say(talk, "Sure?")
        turns.delete_message(no)
        assert talk.path() == path, "the one beside it is shown"
        turns.delete_message(path[3].id)
        assert talk.path() == path[:3]
        for gone in (path[3].id, path[4].id, no):
            with pytest.raises(ConversationNotFound):
                turns.message(gone)

    def test_the_branch_beside_it_is_shown_to_its_end(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "Grey.")
        path = talk.path()
        text_of(talk.regenerate(path[2].id))
        turns.delete_message(talk.path()[-1].id)
        assert talk.path() == path

    def test_the_branch_that_is_shown_stays_when_another_goes(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "No.", "Maybe.")
        yes = talk.path()[-1].id
        text_of(talk.regenerate())
        no = talk.path()[-1].id
        text_of(talk.regenerate())
        maybe = talk.path()[-1].id
        turns.set_leaf(no)
        path = talk.path()
        turns.delete_message(yes)
        assert talk.path() == path
        assert turns.alternatives(talk.conversation or "") == {no: (no, maybe)}

    def test_nothing_may_be_left(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "Green.")
        last = talk.path()[-1].id
        turns.delete_message(talk.path()[0].id)
        assert talk.path() == []
        say(talk, "Grass?")
        assert said(talk.path()) == [("user", "Grass?"), ("assistant", "Green.")]
        assert talk.path()[0].id > last, "no id is given again"

    def test_a_reply_that_is_written_is_not_deleted(self, turns: Turns) -> None:
        talk = session(ScriptedClient(["Blue."]), turns)
        events = talk.send("Sky?")
        asked = talk.path()[0].id
        with pytest.raises(ReplyInProgress):
            turns.delete_message(asked)
        text_of(events)
        turns.delete_message(asked)
        assert talk.path() == []

    def test_a_branch_is_followed_to_its_newest_message(self, turns: Turns) -> None:
        talk = self.talk(turns, "Blue.", "Yes.", "Grey.")
        path = talk.path()
        text_of(talk.regenerate(path[2].id))
        assert len(talk.path()) == 3
        assert turns.set_leaf(path[2].id) == path[-1].id
        turns.go_back(talk.conversation or "", path[0].id)
        assert turns.set_leaf(path[1].id) == talk.path()[-1].id
        assert talk.path()[-1].content == "Grey.", "it is newer than the end of the longer branch"


def test_memory_may_be_looked_at_while_it_is_written() -> None:
    memory = Ephemeral()
    turn = memory.start_turn(None, "Sky?", provenance=Provenance("m"))
    memory.finish(turn.reply, "Blue.", "", Outcome("complete"))
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            memory.alternatives("")

    interval = sys.getswitchinterval()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        sys.setswitchinterval(1e-6)
        try:
            for number in range(500):
                again = memory.regenerate(turn.reply, Provenance("m"))
                memory.finish(again.reply, f"Grey {number}.", "", Outcome("complete"))
                memory.delete_message(again.reply)
        finally:
            sys.setswitchinterval(interval)
            is_over.set()
        looking.result()
