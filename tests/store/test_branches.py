"""Messages that leave, and what their conversation is then; the tree itself is in test_tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from localchat.errors import ConversationNotFound, ReplyInProgress
from localchat.paths import Paths
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say


def test_deleted_words_are_neither_found_nor_on_the_disk(
    store: Store, say: Say, places: Paths
) -> None:
    begun = say(None, "Hello", "Aardvark")
    say(begun.conversation, "Zebra", "Quokka")
    store.delete_message(begun.reply)
    assert [one.content for one in store.path(begun.conversation)] == ["Hello"]
    left = [Path(f"{places.history}{name}").read_bytes() for name in ("", "-wal")]
    for word in ("aardvark", "zebra", "quokka"):
        assert store.search(word) == []
        assert not any(word in content.lower().decode("latin-1") for content in left)
    assert len(store.search("hello")) == 1


def test_a_title_is_made_of_what_is_left(store: Store, say: Say) -> None:
    begun = say(None, "Secret")
    say(begun.conversation, "Public", parent="root")
    store.delete_message(begun.user)
    assert store.conversation(begun.conversation).title == "Public"
    store.rename(begun.conversation, "Mine")
    (asked, _) = store.path(begun.conversation)
    store.delete_message(asked.id)
    assert store.conversation(begun.conversation).title == "Mine"
    assert store.conversation(begun.conversation).leaf is None


def test_what_another_process_writes_stays(store: Store, say: Say, places: Paths) -> None:
    begun = say(None, "Hello")
    with Store.open(places) as other:
        writing = other.start_turn(begun.conversation, "And?", provenance=PROVENANCE)
        with pytest.raises(ReplyInProgress):
            store.delete_message(begun.user)
        assert len(store.path(begun.conversation)) == 4
        store.delete_message(say(begun.conversation, "Or?", parent=begun.reply).user)
    store.delete_message(writing.reply)  # its process has ended
    assert [one.content for one in store.path(begun.conversation)] == ["Hello", "Yes.", "And?"]


def test_one_can_only_go_back_in_the_same_conversation(store: Store, say: Say) -> None:
    one, two = say(None, "One"), say(None, "Two")
    with pytest.raises(ConversationNotFound):
        store.go_back(one.conversation, two.user)
    for unknown in (
        lambda: store.go_back("0" * 16, None),
        lambda: store.go_back(one.conversation, 99),
        lambda: store.alternatives("0" * 16),
        lambda: store.delete_message(99),
    ):
        with pytest.raises(ConversationNotFound):
            unknown()


def test_alternatives_of_roots_are_of_the_same_conversation(store: Store, say: Say) -> None:
    one, _ = say(None, "One"), say(None, "Two")
    again = say(one.conversation, "Again", parent="root")
    assert store.alternatives(one.conversation) == {again.user: (one.user, again.user)}
