"""Finding conversations: ids, lists, titles; deleting them."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.errors import AmbiguousId, ConversationNotFound
from localchat.paths import Paths
from localchat.store.records import Listed, NewConversation, NewMessage
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say


def imported(id_: str, **more: object) -> NewConversation:
    return NewConversation((NewMessage("user", "Hello"),), id=id_, **more)  # type: ignore[arg-type]


def ids(listed: list[Listed]) -> list[str]:
    return [line.conversation.id for line in listed]


A, B, C = "abcdef0000000000", "abcdef1000000000", "abc0000000000000"


@pytest.fixture
def three(store: Store) -> Store:
    store.add([imported(A), imported(B, title="Second"), imported(C)])
    return store


def test_a_conversation_is_found_by_the_beginning_of_its_id(three: Store) -> None:
    assert three.find("abc0").id == C
    assert three.find(" ABCDEF1 ").id == B
    assert three.find(A).id == A


@pytest.mark.parametrize("prefix", ["", "d", "%", "abcdefg", "_" * 16, A + "0", "'", "ab\0"])
def test_what_begins_no_id(three: Store, prefix: str) -> None:
    with pytest.raises(ConversationNotFound) as caught:
        three.find(prefix)
    assert caught.value.exit_code == 3


def test_an_ambiguous_id_names_its_candidates(three: Store) -> None:
    with pytest.raises(AmbiguousId) as caught:
        three.find("abcdef")
    assert "abcdef0 (Hello)" in str(caught.value)
    assert "abcdef1 (Second)" in str(caught.value)
    assert caught.value.exit_code == 2


def test_candidates_are_not_listed_without_end(store: Store) -> None:
    store.add([imported(f"f{number:x}" + "0" * 14) for number in range(16)])
    with pytest.raises(AmbiguousId) as caught:
        store.find("f")
    assert str(caught.value).count("(Hello)") == 5
    assert "…" in str(caught.value)


def test_short_ids_are_the_shortest_that_are_unambiguous(three: Store) -> None:
    assert three.short_id(A) == "abcdef0"
    assert three.short_id(B) == "abcdef1"
    assert three.short_id(C) == "abc0"
    for id_ in (A, B, C):
        assert three.find(three.short_id(id_)).id == id_


def test_the_newest_come_first_in_pages(store: Store) -> None:
    store.add([imported(f"{number:016x}", updated=100.0 + number // 2) for number in range(7)])
    pages = []
    last = None
    while page := store.newest(2, after=last):
        pages.append(ids(page))
        last = page[-1].conversation
    order = [6, 4, 5, 2, 3, 0, 1]
    assert pages == [
        [f"{number:016x}" for number in order[place : place + 2]] for place in range(0, 7, 2)
    ]
    latest = store.latest()
    assert latest is not None
    assert latest.id == f"{6:016x}"


def test_a_new_turn_makes_a_conversation_the_latest(three: Store, say: Say) -> None:
    say(A, "More")
    latest = three.latest()
    assert latest is not None
    assert latest.id == A
    (first, *_) = three.newest()
    assert (first.conversation.id, first.short_id, first.messages) == (A, "abcdef0", 3)


def test_an_empty_history(store: Store) -> None:
    assert store.latest() is None
    assert store.newest() == []
    assert store.search("word") == []
    assert store.stats()[:3] == (0, 0, 0)


def test_a_title_of_the_users_own(store: Store, say: Say) -> None:
    turn = say(None, "How do I bake bread?")
    renamed = store.rename(turn.conversation, "  Bread,\nand more ")
    assert (renamed.title, renamed.title_is_own) == ("Bread, and more", True)
    assert store.conversation(turn.conversation) == renamed
    back = store.rename(turn.conversation, None)
    assert (back.title, back.title_is_own) == ("How do I bake bread?", False)


def test_settings_are_replaced(store: Store, say: Say) -> None:
    turn = say(None, "Hi", settings={"model": "one", "n": [1, None]})
    assert store.conversation(turn.conversation).settings == {"model": "one", "n": [1, None]}
    store.set_settings(turn.conversation, {"model": "two"})
    assert store.conversation(turn.conversation).settings == {"model": "two"}


def test_set_leaf_goes_to_the_newest_message_of_the_branch(store: Store, say: Say) -> None:
    first = say(None, "One")
    second = say(first.conversation, "Two")
    third = say(first.conversation, "Drei", parent=first.reply)
    assert store.set_leaf(second.user) == second.reply
    assert store.conversation(first.conversation).leaf == second.reply
    assert store.set_leaf(first.user) == third.reply


def test_deleting_a_conversation_leaves_nothing_of_it(store: Store, say: Say) -> None:
    gone, kept = say(None, "Secret one"), say(None, "Public one")
    other = say(gone.conversation, "Secret two", parent=gone.reply)
    assert store.delete([gone.conversation, "0" * 16]) == 1
    assert store.newest()[0].conversation.id == kept.conversation
    assert store.stats()[:2] == (1, 2)
    assert [hit.message for hit in store.search("one")] == [kept.user]
    for message in (gone.user, gone.reply, other.reply):
        with pytest.raises(ConversationNotFound):
            store.message(message)


def test_a_very_long_conversation_can_be_deleted_and_followed(store: Store) -> None:
    chain = tuple(
        NewMessage("user", str(number), number - 1 if number else None) for number in range(3000)
    )
    (id_,) = store.add([NewConversation(chain)])
    assert id_ is not None
    assert len(store.path(id_)) == 3000
    assert store.set_leaf(store.tree(id_)[0].id) == store.tree(id_)[-1].id
    assert store.delete([id_]) == 1
    assert store.stats().messages == 0


def test_what_is_deleted_is_not_left_on_the_disk(store: Store, places: Paths, say: Say) -> None:
    for number in range(30):
        say(None, f"ordinary {number} " * 20)
    secret = say(None, "xylophone " * 500, "zeppelin " * 500)

    def on_disk() -> bytes:
        return b"".join(Path(f"{places.history}{name}").read_bytes() for name in ("", "-wal"))

    assert b"xylophone" in on_disk()
    store.delete([secret.conversation])
    assert b"xylophone" not in on_disk()
    assert b"zeppelin" not in on_disk()
    assert b"lophone" not in on_disk()  # of a term in the index, after what it shares with another
    assert len(store.search("ordinary", 100)) == 30


def test_purge_deletes_what_is_old_and_gives_the_room_back(store: Store, say: Say) -> None:
    old = [imported(f"{number:016x}", updated=50.0) for number in range(3)]
    big = NewConversation((NewMessage("user", "word " * 200_000),), updated=60.0)
    new = say(None, "New")
    store.add([*old, big])
    before = store.stats()
    assert before.size > 1_000_000
    assert store.purge(before=100.0) == 4
    after = store.stats()
    assert (after.conversations, after.messages) == (1, 2)
    assert after.size < 300_000
    assert [line.conversation.id for line in store.newest()] == [new.conversation]
    assert store.purge(before=100.0) == 0


def test_stats_count_what_there_is(store: Store, say: Say, places: Paths) -> None:
    turn = say(None, "One", system="Be brief.")
    store.add([imported(A, created=5.0)])
    stats = store.stats()
    assert stats[:2] == (2, 3)
    assert stats.oldest == 5.0
    assert stats.newest == store.conversation(turn.conversation).updated
    assert stats.damaged == ()
    assert stats.size >= places.history.stat().st_size
    assert store.message(turn.reply).generations[0].provenance == PROVENANCE
