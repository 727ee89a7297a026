"""What is imported again, earlier or later than it is here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from localchat.store import merging
from localchat.store.formats.reading import Unread
from localchat.store.merging import Taken, take_in
from localchat.store.records import NewConversation, NewMessage, Outcome
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say
from tests.store.test_import import as_new

SAID = (NewMessage("user", "Hi", created=1.0), NewMessage("assistant", "Ho", 0, created=2.0))
MORE = (*SAID, NewMessage("user", "Hm", 1, created=3.0))


def take(store: Store, *new: NewConversation) -> list[str | None]:
    return [one.id for one in take_in(store, new) if isinstance(one, Taken)]


def test_an_earlier_state_is_here_already(store: Store, say: Say) -> None:
    turn = say(None, "One")
    earlier = as_new(store, turn.conversation)
    say(turn.conversation, "Two")
    say(turn.conversation, "Deux", parent=turn.reply)
    store.rename(turn.conversation, "Another title")
    assert take(store, earlier) == [None]
    assert store.stats().conversations == 1


def test_a_reply_that_was_continued_here_has_all_of_it(store: Store) -> None:
    turn = store.start_turn(None, "One", provenance=PROVENANCE)
    store.finish(turn.reply, "half", "", Outcome("incomplete"))
    earlier = as_new(store, turn.conversation)
    store.continue_reply(turn.reply, PROVENANCE)
    store.finish(turn.reply, "half and more", "", Outcome("complete"))
    assert take(store, earlier) == [None]


@pytest.mark.parametrize("name", ["id", "source"])
def test_a_later_state_is_a_second_conversation_once(store: Store, name: str) -> None:
    named = {"id": "0123456789abcdef"} if name == "id" else {"source": "chatgpt:1"}
    (first,) = take(store, NewConversation(SAID, **named))  # type: ignore[arg-type]
    (second,) = take(store, NewConversation(MORE, **named))  # type: ignore[arg-type]
    assert first is not None
    assert second not in (None, first)
    assert take(store, NewConversation(MORE, **named)) == [None]  # type: ignore[arg-type]
    assert take(store, NewConversation(SAID, **named)) == [None]  # type: ignore[arg-type]
    assert [message.content for message in store.tree(first)] == ["Hi", "Ho"]


@pytest.mark.parametrize(
    "other",
    [
        NewMessage("user", "Ha", created=1.0),
        NewMessage("system", "Hi", created=1.0),
        NewMessage("user", "Hi", created=1.5),
        NewMessage("user", "Hi, and more", created=1.0),
    ],
)
def test_what_differs_is_another(store: Store, other: NewMessage) -> None:
    take(store, NewConversation(SAID, source="x"))
    assert take(store, NewConversation((other, SAID[1]), source="x")) != [None]


def test_one_file_may_have_the_same_twice(store: Store) -> None:
    one = NewConversation(SAID, id="0123456789abcdef")
    assert take(store, one, one) == ["0123456789abcdef", None]
    two = NewConversation(SAID, source="x")
    assert [id_ is None for id_ in take(store, two, two._replace(messages=MORE))] == [False, False]


def test_alike_siblings_are_each_looked_for(store: Store) -> None:
    again = (SAID[0], SAID[0], SAID[1]._replace(parent=1))
    take(store, NewConversation(again, source="x"))
    assert take(store, NewConversation(again, source="x")) == [None]
    assert take(store, NewConversation((*again, SAID[0]), source="x")) != [None]


def test_they_are_written_some_at_a_time_and_told_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    add = store.add

    def counted(new: Sequence[NewConversation]) -> list[str | None]:
        sizes.append(len(new))
        return add(new)

    monkeypatch.setattr(store, "add", counted)
    monkeypatch.setattr(merging, "_MOST", 3)
    found = [Unread(7, "bad") if n == 2 else NewConversation(SAID, source=str(n)) for n in range(8)]
    became = [*take_in(store, found)]
    assert [type(one) for one in became] == [Taken, Taken, Unread, *[Taken] * 5]
    assert sizes == [2, 3, 2]
    monkeypatch.setattr(merging, "_MOST", 200)
    monkeypatch.setattr(merging, "_MOST_TEXT", 1)
    take(store, *(NewConversation(SAID, source=f"more {n}") for n in range(3)))
    assert sizes[3:] == [1, 1, 1]


def test_halves_of_characters_in_a_source_are_found_again(store: Store) -> None:
    new = NewConversation(SAID, source="chatgpt:\ud800")
    take(store, new)
    assert take(store, new) == [None]
