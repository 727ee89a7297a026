"""Whole conversations put in at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localchat.errors import InputError
from localchat.store.records import (
    Generation,
    NewConversation,
    NewMessage,
    Outcome,
    StoredMessage,
    Trim,
)
from localchat.store.store import Store
from localchat.types import Timings, Usage
from tests.store.conftest import PROVENANCE, Say


def as_new(store: Store, id_: str) -> NewConversation:
    """A stored conversation as it is exported."""
    found = store.conversation(id_)
    messages = store.tree(id_)
    place = {message.id: number for number, message in enumerate(messages)}

    def generation(one: Generation) -> Generation:
        if one.trim is None:
            return one
        dropped = tuple(place[id_] for id_ in one.trim.dropped)
        return one._replace(trim=one.trim._replace(dropped=dropped))

    def message(one: StoredMessage) -> NewMessage:
        assert one.state != "generating"
        return NewMessage(
            one.role,
            one.content,
            None if one.parent is None else place[one.parent],
            one.reasoning,
            one.created,
            one.state,
            tuple(map(generation, one.generations)),
        )

    return NewConversation(
        tuple(map(message, messages)),
        found.id,
        found.title,
        found.title_is_own,
        found.created,
        found.updated,
        None if found.leaf is None else place[found.leaf],
        found.settings,
        found.source,
    )


def test_a_round_trip_loses_nothing(store: Store, say: Say) -> None:
    say(None, "Another, so that ids differ")
    first = say(None, "One", system="Count.", settings={"model": "a"})
    turn = store.start_turn(first.conversation, "Two", provenance=PROVENANCE)
    trim = Trim((first.user, first.reply), "Counted to one.")
    usage, timings = Usage(5, 0, 3), Timings(0.0, 0.5, 1.0)
    store.finish(turn.reply, "2", "hm", Outcome("incomplete", "length", 7, usage, timings, trim))
    store.continue_reply(turn.reply, PROVENANCE._replace(model="b"))
    store.finish(turn.reply, "2, 3", "hm", Outcome("failed", error="No."))
    say(first.conversation, "Deux", parent=first.reply)
    store.set_leaf(turn.reply)
    store.rename(first.conversation, "Mine")
    exported = as_new(store, first.conversation)
    store.delete([first.conversation])
    assert store.add([exported]) == [first.conversation]
    assert as_new(store, first.conversation) == exported
    assert [hit.snippet for hit in store.search("Deux")] == ["Deux"]


def test_an_id_that_is_taken_or_is_none_is_replaced(store: Store, say: Say) -> None:
    turn = say(None, "One")
    same = as_new(store, turn.conversation)
    (copy, odd) = store.add([same, same._replace(id="../../etc")])
    assert copy is not None
    assert odd is not None
    assert len({turn.conversation, copy, odd}) == 3
    assert store.find(odd).title == "One"


def test_a_source_is_imported_once(store: Store) -> None:
    new = NewConversation((NewMessage("user", "Hi"),), source="chatgpt:1")
    (first, again) = store.add([new, new])
    assert first is not None
    assert again is None
    assert store.add([new]) == [None]
    assert store.conversation(first).source == "chatgpt:1"
    store.delete([first])
    assert store.add([new]) != [None]


def test_an_error_in_what_is_imported_is_not_taken_for_damage(store: Store) -> None:
    def broken() -> Iterator[NewConversation]:
        yield NewConversation((NewMessage("user", "Good"),))
        b"\xff".decode()

    with pytest.raises(UnicodeDecodeError):
        store.add(broken())
    assert store.notes == ()
    assert store.stats().conversations == 0


def test_what_is_not_told_is_made_up(store: Store) -> None:
    messages = (
        NewMessage("system", "Be."),
        NewMessage("user", "Hi", 0),
        NewMessage("assistant", "Ho", 1),
    )
    (id_, empty) = store.add([NewConversation(messages, created=9.0), NewConversation(())])
    assert id_ is not None
    assert empty is not None
    found = store.conversation(id_)
    assert (found.title, found.title_is_own, found.created, found.updated) == (
        "Hi",
        False,
        9.0,
        9.0,
    )
    assert [message.content for message in store.path(id_)] == ["Be.", "Hi", "Ho"]
    assert {message.created for message in store.path(id_)} == {9.0}
    assert store.conversation(empty).leaf is None
    assert store.path(empty) == store.tree(empty) == []


@pytest.mark.parametrize("parent", [-1, 1, 2])
def test_one_that_is_no_tree_is_refused_and_nothing_is_imported(store: Store, parent: int) -> None:
    good = NewConversation((NewMessage("user", "Good"),))
    bad = NewConversation((NewMessage("user", "One"), NewMessage("user", "Two", parent)))
    with pytest.raises(InputError):
        store.add([good, bad])
    with pytest.raises(InputError):
        store.add([good, good._replace(leaf=3)])
    trimmed = Generation(PROVENANCE, trim=Trim((4,)))
    with pytest.raises(InputError):
        store.add([good, NewConversation((NewMessage("assistant", "", generations=(trimmed,)),))])
    assert store.stats()[:2] == (0, 0)
