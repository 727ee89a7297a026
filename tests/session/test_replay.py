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
from localchat.session.replay import Difference, Replayed, parts, replay
from localchat.session.session import Turns
from localchat.store.records import Outcome, Provenance, StoredMessage
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
    return replay(ScriptedClient([*script]), talk.path()).difference


class TestRequest:
    def test_it_is_the_recorded_one(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, turns, system="Be brief.")
        say(talk, "Sky?")
        say(talk, "Always?")
        (part,) = parts(talk.path())
        first, made = client.requests[1], part.request
        assert (made.messages, made.params.seed) == (first.messages, first.params.seed)
        assert made.params.temperature == first.params.temperature
        assert made.private
        assert made.partial_reply is None
        assert (part.content, part.is_whole) == ("Yes.", True)

    def test_it_has_the_instructions_of_that_time(self, turns: Turns) -> None:
        client = ScriptedClient(["Blue."], ["Yes."])
        talk = session(client, turns, system="Be brief.")
        say(talk, "Sky?")
        talk.options = talk.options._replace(system="Be long.")
        say(talk, "Always?")
        path = talk.path()
        requests = [part.request for end in (3, 5) for part in parts(path[:end])]
        assert [one.messages for one in requests] == [one.messages for one in client.requests]

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


def answer(text: str, end: Finished) -> list[str | Event]:
    return [text, end]


def used(prompt: int, cached: int, completion: int) -> Finished:
    return Finished("", "stop", Usage(prompt, cached, completion), Timings(0.0, 0.0, 0.0), 7)


class TestMemory:
    """A reply that found tokens in memory is made with as many there, made in the same way."""

    def talk(self, turns: Turns, *ends: Finished) -> list[StoredMessage]:
        talk = session(ScriptedClient(*(answer(f"{n}", end) for n, end in enumerate(ends))), turns)
        for number in range(len(ends)):
            say(talk, f"Count to {number}")
        return talk.path()

    def again(self, path: list[StoredMessage], *ends: Finished) -> tuple[list[Any], Replayed]:
        """(Length of the prompt, tokens to reuse at most, tokens to make) of the requests."""
        said = [one.content for one in path if one.role == "assistant"][-len(ends) :]
        client = ScriptedClient(*map(answer, said, ends))
        replayed = replay(client, path)
        assert len({request.conversation for request in client.requests}) == 1
        return [
            (len(one.messages), one.reuse_own, one.params.max_tokens) for one in client.requests
        ], replayed

    def test_a_reply_that_began_from_nothing_is_made_alone(self, turns: Turns) -> None:
        path = self.talk(turns, used(9, 0, 3), used(20, 0, 3))
        asked, replayed = self.again(path, used(20, 0, 3))
        assert asked == [(3, 0, None)]
        assert replayed.is_as_made

    def test_what_it_went_on_from_is_made_before(self, turns: Turns) -> None:
        ends = (used(9, 0, 3), used(20, 0, 3), used(30, 22, 3), used(40, 32, 3))
        path = self.talk(turns, *ends)
        asked, replayed = self.again(path, *ends[1:])
        assert asked == [(3, 0, None), (5, 22, None), (7, 32, None)]
        assert replayed.is_as_made
        assert replayed.difference is None

    def test_more_than_that_was_there_of_a_reply_beside_it(self, turns: Turns) -> None:
        path = self.talk(turns, used(9, 0, 3), used(20, 19, 3))
        (first, second) = (one.content for one in path if one.role == "assistant")
        client = ScriptedClient(
            [first, used(9, 0, 3)], ["x", used(20, 11, 1)], [second, used(20, 19, 3)]
        )
        replayed = replay(client, path)
        assert [(one.reuse_own, one.params.max_tokens) for one in client.requests] == [
            (0, None),
            (19, 1),
            (19, None),
        ]
        assert replayed.is_as_made

    def test_less_was_there_than_expected(self, turns: Turns) -> None:
        """The text of a reply may become other tokens than it was generated in."""
        ends = used(9, 0, 3), used(20, 11, 3)
        path = self.talk(turns, *ends)
        client = ScriptedClient(["0", ends[0]], ["x", used(20, 9, 3)], ["1", ends[1]])
        replayed = replay(client, path)
        assert [one.reuse_own for one in client.requests] == [0, 11, 11]
        assert (replayed.difference, replayed.is_as_made) == (None, True)

    def test_it_is_said_when_that_could_not_be_done(self, turns: Turns) -> None:
        path = self.talk(turns, used(9, 0, 3), used(20, 11, 3))
        less = answer("1", used(20, 5, 3))
        client = ScriptedClient(["0", used(9, 0, 3)], less, less)
        assert not replay(client, path).is_as_made
        client = ScriptedClient(["another", used(9, 0, 3)], ["1", used(20, 11, 3)])
        replayed = replay(client, path)
        assert replayed.difference is None
        assert not replayed.is_as_made

    def test_what_is_not_known_of_a_killed_reply(self, turns: Turns) -> None:
        talk = session(Dying(["The sk"]), turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        assert not replay(ScriptedClient(["The sky"]), talk.path()).is_as_made

    def test_progress_is_told(self, turns: Turns) -> None:
        ends = (used(9, 0, 3), used(20, 11, 3))
        path = self.talk(turns, *ends)
        told: list[tuple[int, int]] = []
        script = ScriptedClient(["0", ends[0]], ["1", ends[1]])
        replay(script, path, lambda done, total: told.append((done, total)))
        assert told == [(0, 2), (1, 2)]


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
        path = talk.path()
        found = replay(ScriptedClient([ReasoningDelta("", "Oh"), "Blue.", END]), path).difference
        assert found is not None
        assert (found.kind, found.at, found.recorded) == ("reasoning", 0, "Hm")
        same = replay(ScriptedClient([ReasoningDelta("", "Hm"), "Blue.", END]), path)
        assert same.difference is None
        missing = replay(ScriptedClient(["Blue.", END]), path).difference
        assert missing is not None
        assert missing.kind == "reasoning"

    def test_a_reply_that_was_cut_is_compared_as_far_as_it_goes(self, turns: Turns) -> None:
        talk = session(Dying(["The sk"]), turns)
        with pytest.raises(EngineDied):
            say(talk, "Sky?")
        client = ScriptedClient(tokens("The", " sky", " is", " blue."))
        assert replay(client, talk.path()).difference is None
        assert not [*client.events()], "nobody waits for the rest"
        short = replay(ScriptedClient([*tokens("The"), END]), talk.path()).difference
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
