"""A turn in the store: begun before it is answered, checkpointed, finished, continued, redone."""

from __future__ import annotations

import pytest

from localchat.errors import ConversationNotFound, ReplyInProgress, UsageError
from localchat.paths import Paths
from localchat.store.records import Generation, Outcome, StoredMessage, Trim
from localchat.store.store import Store
from localchat.types import Timings, Usage
from tests.store.conftest import PROVENANCE, Say

ENDED = Outcome(
    state="complete",
    finish_reason="stop",
    seed=4_294_967_295,
    usage=Usage(20, 5, 7),
    timings=Timings(0.1, 0.25, 1.5),
    trim=Trim((1, 2), "They said hello."),
)


def texts(path: list[StoredMessage]) -> list[str]:
    return [message.content for message in path]


def test_a_turn_is_stored_before_it_is_answered(store: Store, places: Paths) -> None:
    turn = store.start_turn(
        None,
        "Why is the sky blue?",
        system="Be brief.",
        settings={"model": "smollm2"},
        provenance=PROVENANCE,
    )
    with Store.open(places) as other:
        system, user, reply = other.path(turn.conversation)
        found = other.conversation(turn.conversation)
    assert (system.role, system.content, system.parent) == ("system", "Be brief.", None)
    assert (user.role, user.content, user.parent) == ("user", "Why is the sky blue?", system.id)
    assert (reply.role, reply.content, reply.parent) == ("assistant", "", user.id)
    assert (system.state, user.state, reply.state) == ("complete", "complete", "generating")
    assert reply.generations == (Generation(PROVENANCE),)
    assert (user.id, reply.id) == (turn.user, turn.reply)
    assert (found.title, found.title_is_own, found.leaf) == (
        "Why is the sky blue?",
        False,
        reply.id,
    )
    assert found.settings == {"model": "smollm2"}
    assert found.created == found.updated == user.created


def test_a_reply_grows_and_ends_with_all_that_is_known_of_it(store: Store) -> None:
    turn = store.start_turn(None, "Hello", provenance=PROVENANCE)
    store.checkpoint(turn.reply, "Hel", "I should")
    half = store.message(turn.reply)
    assert (half.content, half.reasoning, half.state) == ("Hel", "I should", "generating")
    store.finish(turn.reply, "Hello!", "I should greet.", ENDED)
    whole = store.message(turn.reply)
    assert (whole.content, whole.reasoning, whole.state) == (
        "Hello!",
        "I should greet.",
        "complete",
    )
    (generation,) = whole.generations
    assert generation.provenance == PROVENANCE
    assert generation[3:] == ENDED[1:]
    assert store.conversation(turn.conversation).updated > half.created


def test_a_failed_reply_keeps_why(store: Store) -> None:
    turn = store.start_turn(None, "Hello", provenance=PROVENANCE)
    store.finish(turn.reply, "", "", Outcome("failed", error="The engine stopped."))
    failed = store.message(turn.reply)
    assert (failed.state, failed.generations[0].error) == ("failed", "The engine stopped.")


def test_a_conversation_goes_on_below_its_leaf(store: Store, say: Say) -> None:
    first = say(None, "One", "1")
    say(first.conversation, "Two", "2")
    assert texts(store.path(first.conversation)) == ["One", "1", "Two", "2"]
    assert texts(store.path(first.conversation, leaf=first.reply)) == ["One", "1"]


def test_an_edit_is_a_branch(store: Store, say: Say) -> None:
    first = say(None, "One", "1", system="Count.")
    second = say(first.conversation, "Two", "2")
    say(first.conversation, "Deux", "2", parent=first.reply)
    assert texts(store.path(first.conversation)) == ["Count.", "One", "1", "Deux", "2"]
    assert texts(store.siblings(second.user)) == ["Two", "Deux"]
    say(first.conversation, "Un", "1", parent="root", system="Compte.")
    assert texts(store.path(first.conversation)) == ["Compte.", "Un", "1"]
    roots = [message for message in store.tree(first.conversation) if message.parent is None]
    assert texts(roots) == ["Count.", "Compte."]
    assert store.siblings(roots[0].id) == roots


def test_a_system_prompt_is_not_put_below_a_message(store: Store, say: Say) -> None:
    first = say(None, "One", "1", system="Count.")
    say(first.conversation, "Two", "2", system="Compte.")
    assert texts(store.path(first.conversation)) == ["Count.", "One", "1", "Two", "2"]


def test_regenerate_makes_a_sibling(store: Store, say: Say) -> None:
    turn = say(None, "One", "1")
    again = store.regenerate(turn.reply, PROVENANCE)
    assert (again.conversation, again.user) == (turn.conversation, turn.user)
    store.finish(again.reply, "I", "", ENDED)
    below = store.regenerate(turn.user, PROVENANCE)
    store.finish(below.reply, "uno", "", ENDED)
    assert texts(store.siblings(turn.reply)) == ["1", "I", "uno"]
    assert texts(store.path(turn.conversation)) == ["One", "uno"]
    system = store.path(say(None, "One", "1", system="Count.").conversation)[0]
    with pytest.raises(UsageError):
        store.regenerate(system.id, PROVENANCE)


def test_a_reply_goes_on_where_it_was_cut_off(store: Store) -> None:
    turn = store.start_turn(None, "Count", provenance=PROVENANCE)
    store.finish(turn.reply, "1 2", "hm", Outcome("incomplete", "cancelled", 1))
    other = PROVENANCE._replace(model="other")
    assert store.continue_reply(turn.reply, other) == turn
    assert store.message(turn.reply).state == "generating"
    assert store.search("2") == []
    store.finish(turn.reply, "1 3", "hm", Outcome("complete", "stop", 2))
    reply = store.message(turn.reply)
    assert (reply.content, reply.state) == ("1 3", "complete")
    assert store.search("2") == []
    assert [hit.message for hit in store.search("3")] == [turn.reply]
    first, second = reply.generations
    assert (first.provenance, first.content_from, first.seed) == (PROVENANCE, 0, 1)
    assert (second.provenance, second.content_from, second.reasoning_from) == (other, 3, 2)
    assert (first.finish_reason, second.finish_reason, second.seed) == ("cancelled", "stop", 2)


def test_what_can_not_be_continued(store: Store, places: Paths, say: Say) -> None:
    first = say(None, "One", "1")
    second = store.start_turn(first.conversation, "Two", provenance=PROVENANCE)
    with pytest.raises(UsageError, match="not a reply"):
        store.continue_reply(first.user, PROVENANCE)
    with pytest.raises(UsageError, match="went on"):
        store.continue_reply(first.reply, PROVENANCE)
    with Store.open(places) as other, pytest.raises(ReplyInProgress):
        other.continue_reply(second.reply, PROVENANCE)


def test_only_its_writer_writes_a_reply(store: Store, places: Paths, say: Say) -> None:
    turn = store.start_turn(None, "One", provenance=PROVENANCE)
    with Store.open(places) as other:
        with pytest.raises(ConversationNotFound):
            other.checkpoint(turn.reply, "2")
        with pytest.raises(ConversationNotFound):
            other.finish(turn.reply, "2", "", ENDED)
    store.finish(turn.reply, "1", "", ENDED)
    with pytest.raises(ConversationNotFound):
        store.checkpoint(turn.reply, "too late")
    assert store.message(turn.reply).content == "1"


def test_a_reply_of_a_deleted_conversation_goes_nowhere(store: Store, places: Paths) -> None:
    turn = store.start_turn(None, "One", provenance=PROVENANCE)
    with Store.open(places) as other:
        assert other.delete([turn.conversation]) == 1
        new = other.start_turn(None, "Two", provenance=PROVENANCE)
        assert new.user > turn.reply
        with pytest.raises(ConversationNotFound):
            store.finish(turn.reply, "1", "", ENDED)
        assert texts(other.path(new.conversation)) == ["Two", ""]


def test_two_at_once_become_branches(store: Store, places: Paths, say: Say) -> None:
    first = say(None, "One", "1")
    end = store.path(first.conversation)[-1].id
    mine = store.start_turn(first.conversation, "Mine", provenance=PROVENANCE, parent=end)
    with Store.open(places) as other:
        yours = other.start_turn(first.conversation, "Yours", provenance=PROVENANCE, parent=end)
        assert texts(other.siblings(mine.user)) == ["Mine", "Yours"]
        assert other.conversation(first.conversation).leaf == yours.reply


def test_what_is_not_there(store: Store, say: Say) -> None:
    one, two = say(None, "One"), say(None, "Two")
    for wrong in (
        lambda: store.start_turn("0" * 16, "Hi", provenance=PROVENANCE),
        lambda: store.start_turn(one.conversation, "Hi", provenance=PROVENANCE, parent=two.reply),
        lambda: store.start_turn(one.conversation, "Hi", provenance=PROVENANCE, parent=999),
        lambda: store.regenerate(999, PROVENANCE),
        lambda: store.continue_reply(999, PROVENANCE),
        lambda: store.path("0" * 16),
        lambda: store.path(one.conversation, leaf=two.reply),
        lambda: store.tree("0" * 16),
        lambda: store.message(999),
        lambda: store.siblings(999),
        lambda: store.set_leaf(999),
        lambda: store.rename("0" * 16, "A"),
        lambda: store.set_settings("0" * 16, {}),
        lambda: store.conversation("0" * 16),
    ):
        with pytest.raises(ConversationNotFound):
            wrong()
    assert store.stats().messages == 4


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "🙂\u202e", "x" * 1_000_000, "'; --\n"])
def test_any_text_can_be_stored(store: Store, text: str) -> None:
    turn = store.start_turn(None, text, system=text, provenance=PROVENANCE)
    store.checkpoint(turn.reply, text, text)
    store.finish(turn.reply, text, text, ENDED._replace(error=text))
    stored = text.replace("\ud800", "?")
    for message in store.path(turn.conversation):
        assert message.content == stored
    assert store.message(turn.reply).reasoning == stored
