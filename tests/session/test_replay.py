"""What is sent to make a reply again, and where a new text is found to part from the recorded."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.errors import EngineDied, EngineFailed, ReplyInProgress, UsageError
from localchat.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TokenLogprobs,
    Trimmed,
)
from localchat.session.replay import Difference, parts, replay
from localchat.session.session import Turns
from localchat.store.records import Outcome, Provenance
from localchat.store.store import Store
from localchat.types import Message, PartialReply, Timings, Usage
from tests.session import Dying, say, session, text_of

END = Finished("", "stop", Usage(1, 0, 1), Timings(0.0, 0.0, 0.0), 7)


def tokens(*texts: str) -> list[str | Event]:
    """Each as the engine tells it to those who ask for log-probabilities."""
    said: list[str | Event] = []
    for text in texts:
        said += [TokenLogprobs("", text, -0.5, ((text, -0.5), (" blue", -0.7))), text]
    return said


def again(turns: Turns, *script: str | Event, reply: str = "The sky is blue.") -> Any:
    """What comes of replaying a conversation's only reply."""
    talk = session(ScriptedClient([reply, END]), turns)
    say(talk, "Sky?")
    (part,) = parts(talk.path())
    return replay(ScriptedClient([*script]), part)


class TestRequest:
    def test_it_is_the_recorded_one_computed_afresh(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, turns, system="Be brief.")
        say(talk, "Sky?")
        say(talk, "Always?")
        (part,) = parts(talk.path())
        first, made = client.requests[1], part.request
        assert (made.messages, made.params.seed) == (first.messages, first.params.seed)
        assert made.params.temperature == first.params.temperature
        assert (made.reuse_cache, made.speculate, made.private) == (False, False, True)
        assert made.partial_reply is None
        assert (part.content, part.is_whole) == ("Yes.", True)

    @pytest.mark.parametrize("summary", [None, "About the sky."])
    def test_what_was_left_out_is_left_out_again(self, turns: Turns, summary: str | None) -> None:
        client = ScriptedClient(["Blue."], [Trimmed("", (0, 1), summary), "Yes."])
        talk = session(client, turns)
        say(talk, "Sky?")
        say(talk, "Always?")
        (part,) = parts(talk.path())
        *before, last = part.request.messages
        assert last == Message("user", "Always?")
        assert [message.role for message in before] == ([] if summary is None else ["system"])
        assert all("About the sky." in message.content for message in before)
        assert part.request.overflow == "refuse"

    def test_a_reply_that_went_on_is_made_in_its_parts(self, turns: Turns) -> None:
        talk = session(Dying([ReasoningDelta("", "Hm"), "Bl"]), turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        talk = session(ScriptedClient(["ue."]), turns, conversation=talk.conversation)
        text_of(talk.continue_reply())
        first, second = parts(talk.path())
        assert (first.content, first.reasoning, first.is_whole) == ("Bl", "Hm", False)
        assert (second.content, second.reasoning, second.is_whole) == ("ue.", "", True)
        assert second.request.partial_reply == PartialReply("Bl", "Hm")

    def test_what_the_user_wrote_is_not_made_again(self, turns: Turns) -> None:
        talk = session(ScriptedClient(["Blue."], [" but dark."]), turns)
        say(talk, "Sky?")
        text_of(talk.edit(talk.path()[-1].id, "Blue,"))
        (part,) = parts(talk.path())
        assert part.request.partial_reply == PartialReply("Blue,")
        assert part.content == " but dark."

    def test_what_can_not_be_made_again(self, store: Store) -> None:
        turn = store.start_turn(None, "Sky?", provenance=Provenance("m"))
        with pytest.raises(ReplyInProgress):
            parts(store.path(turn.conversation))
        with pytest.raises(UsageError, match="not a reply"):
            parts(store.path(turn.conversation, turn.user))
        store.finish(turn.reply, "Blue.", "", Outcome("complete"))
        with pytest.raises(UsageError, match="not known"):
            parts(store.path(turn.conversation))


class TestComparison:
    def test_the_same_is_no_difference(self, turns: Turns) -> None:
        assert again(turns, *tokens("The", " sky", " is", " blue."), END) is None

    def test_it_says_where_they_part_and_how_likely_both_were(self, turns: Turns) -> None:
        found = again(turns, *tokens("The", " sky", " is", " grey", "."), END)
        assert found == Difference(
            "content", 11, 4, "blue.", "grey.", ((" grey", -0.5), (" blue", -0.7))
        )

    def test_text_that_is_missing_or_too_much(self, turns: Turns) -> None:
        short = again(turns, *tokens("The", " sky"), END)
        assert (short.at, short.recorded, short.replayed) == (7, " is blue.", "")
        long = again(turns, *tokens("The sky is blue.", " Yes."), END)
        assert (long.at, long.recorded, long.replayed) == (16, "", " Yes.")

    def test_thoughts_are_compared_too(self, turns: Turns) -> None:
        talk = session(ScriptedClient([ReasoningDelta("", "Hm"), "Blue.", END]), turns)
        say(talk, "Sky?")
        (part,) = parts(talk.path())
        found = replay(ScriptedClient([ReasoningDelta("", "Oh"), "Blue.", END]), part)
        assert found is not None
        assert (found.kind, found.at, found.recorded) == ("reasoning", 0, "Hm")
        assert replay(ScriptedClient([ReasoningDelta("", "Hm"), "Blue.", END]), part) is None
        missing = replay(ScriptedClient(["Blue.", END]), part)
        assert missing is not None
        assert missing.kind == "reasoning"

    def test_a_reply_that_was_cut_is_compared_as_far_as_it_goes(self, turns: Turns) -> None:
        talk = session(Dying(["The sk"]), turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        (part,) = parts(talk.path())
        client = ScriptedClient(tokens("The", " sky", " is", " blue."))
        assert replay(client, part) is None
        (end,) = client.events()
        assert isinstance(end, Finished)
        assert end.finish_reason == "cancelled", "nobody waits for the rest"
        short = replay(ScriptedClient([*tokens("The"), END]), part)
        assert short is not None
        assert (short.at, short.recorded) == (3, " sk")

    def test_a_failure_is_the_error_it_names(self, turns: Turns) -> None:
        with pytest.raises(EngineFailed, match="It failed"):
            again(turns, Failed("", "EngineFailed", "It failed."))

    def test_a_difference_is_shown_with_some_of_what_follows(self, turns: Turns) -> None:
        script = tokens("The", " sea", *[" rolls"] * 50)
        found = again(turns, *script, END)
        assert found.replayed.startswith("ea rolls rolls")
        assert len(found.replayed) == 60
