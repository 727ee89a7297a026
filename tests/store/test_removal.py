"""Conversations go with all that is kept of them."""

from __future__ import annotations

import time
from pathlib import Path

import apsw
import pytest

from localchat import snapshot_files
from localchat.engine.snapshots import SnapshotStore
from localchat.errors import HistoryReadOnly
from localchat.paths import Paths
from localchat.store import removal
from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store
from tests.store.conftest import Say

KEY = "ab" * 32
STATE = bytes(100_000)
DAY = 86_400.0


@pytest.fixture
def snapshots(places: Paths) -> SnapshotStore:
    return SnapshotStore(places.snapshots, KEY, 10**9, model="tiny")


def kept(places: Paths) -> set[bytes]:
    heads = [snapshot_files.load_head(one.path) for one in snapshot_files.entries(places.snapshots)]
    return {head.owner for head in heads if head}


def add(store: Store, age: float, text: str = "Old") -> str:
    (id_,) = store.add([NewConversation((NewMessage("user", text),), created=time.time() - age)])
    assert id_ is not None
    return id_


def test_a_deleted_conversation_leaves_no_state(
    store: Store, say: Say, places: Paths, snapshots: SnapshotStore
) -> None:
    one, two = say(None, "One").conversation, say(None, "Two").conversation
    for number, id_ in enumerate((one, two)):
        snapshots.write([number], STATE, conversation=id_)
    removed = removal.delete(store, [one], places)
    assert (removed.conversations, removed.snapshots) == (1, 1)
    assert removed.freed > len(STATE)
    assert kept(places) == {snapshot_files.owner_of(two)}
    snapshots.write([0, 1], STATE, conversation=one)  # by an engine that still holds it
    assert kept(places) == {snapshot_files.owner_of(two)}
    assert store.stats().conversations == 1


def test_a_deleted_message_leaves_no_state(
    store: Store, say: Say, places: Paths, snapshots: SnapshotStore
) -> None:
    one, two = say(None, "One"), say(None, "Two")
    for number, id_ in enumerate((one.conversation, two.conversation)):
        snapshots.write([number], STATE, conversation=id_)
    removal.delete_message(store, one.reply, places)
    assert [message.content for message in store.path(one.conversation)] == ["One"]
    snapshots.write([0, 1], STATE, conversation=one.conversation)
    assert kept(places) == {snapshot_files.owner_of(two.conversation)}


def test_what_is_old_goes_and_gives_its_room_back(
    store: Store, places: Paths, snapshots: SnapshotStore
) -> None:
    old = [add(store, 40 * DAY, "x" * 200_000) for _ in range(5)]
    new = add(store, 20 * DAY)
    for number, id_ in enumerate((*old, new)):
        snapshots.write([number], STATE, conversation=id_)
    before = time.time() - 30 * DAY
    assert {one.conversation.id for one in removal.older(store, before)} == {*old}
    removed = removal.purge(store, before, places)
    assert (removed.conversations, removed.snapshots) == (5, 5)
    assert removed.freed > 5 * (200_000 + len(STATE)) * 0.9
    assert kept(places) == {snapshot_files.owner_of(new)}
    assert removal.purge(store, before, places) == (0, 0, 0)


def test_all_pages_of_what_is_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "_PAGE", 2)
    moment = time.time() - 30 * DAY
    ids = store.add(
        NewConversation((), created=moment + shift) for shift in (-2.0, -1.0, -1.0, -1.0, 0.0, 1.0)
    )
    assert {one.conversation.id for one in removal.older(store, moment)} == {*ids[:4]}


def test_the_states_go_first(
    store: Store, say: Say, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = say(None, "One").conversation

    def fail(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(snapshot_files, "forget", fail)
    with pytest.raises(OSError, match="Permission"):
        removal.delete(store, [id_], places)
    with pytest.raises(OSError, match="Permission"):
        removal.purge(store, time.time() + 1, places)
    with pytest.raises(OSError, match="Permission"):
        removal.delete_message(store, store.path(id_)[0].id, places)
    assert len(store.path(id_)) == 2


def test_nothing_goes_of_a_history_that_may_not_be_written(
    store: Store, say: Say, places: Paths, snapshots: SnapshotStore
) -> None:
    id_ = say(None, "One").conversation
    snapshots.write([1], STATE, conversation=id_)
    connection = apsw.Connection(str(places.history))
    connection.pragma("user_version", 99)
    connection.close()
    with Store.open(places) as newer:
        with pytest.raises(HistoryReadOnly):
            removal.delete(newer, [id_], places)
        with pytest.raises(HistoryReadOnly):
            removal.purge(newer, time.time() + 1, places)
        with pytest.raises(HistoryReadOnly):
            removal.delete_message(newer, newer.path(id_)[0].id, places)
    assert kept(places) == {snapshot_files.owner_of(id_)}


def test_no_file_is_left_readable_for_others(store: Store, say: Say, places: Paths) -> None:
    removal.delete(store, [say(None, "One").conversation], places)
    assert [oct(path.stat().st_mode & 0o777) for path in Path(places.snapshots).iterdir()] == [
        "0o600"
    ] * 2
