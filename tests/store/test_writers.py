"""Whether the process that writes a reply still runs."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.store.records import Outcome
from localchat.store.store import Store
from localchat.store.writers import Writers
from tests.store.children import Acknowledge, Child
from tests.store.conftest import PROVENANCE, Say


def begin(places: Paths) -> tuple[Child, str, int]:
    """A process that writes a reply until it is killed."""

    def work(acknowledge: Acknowledge) -> None:
        store = Store.open(places)
        turn = store.start_turn(None, "Why?", provenance=PROVENANCE)
        store.checkpoint(turn.reply, "Because of", "Hm")
        acknowledge(turn.conversation, turn.reply)
        signal.pause()

    child = Child(work)
    conversation, reply = child.line()
    return child, conversation, int(reply)


def test_a_reply_whose_process_was_killed_is_incomplete(store: Store, places: Paths) -> None:
    child, conversation, reply = begin(places)
    try:
        assert store.message(reply).state == "generating"
    finally:
        child.kill()
    (_, killed) = store.path(conversation)
    assert (killed.state, killed.content, killed.reasoning) == ("incomplete", "Because of", "Hm")
    assert store.search("because") == []
    store.start_turn(None, "Another", provenance=PROVENANCE)
    assert [hit.message for hit in store.search("because")] == [reply]
    store.continue_reply(reply, PROVENANCE)
    store.finish(reply, "Because of that.", "Hm", Outcome("complete"))
    assert store.message(reply).state == "complete"


def test_a_killed_reply_can_be_continued_at_once(store: Store, places: Paths) -> None:
    child, _, reply = begin(places)
    child.kill()
    store.continue_reply(reply, PROVENANCE)
    assert store.message(reply).state == "generating"


def test_the_reply_of_a_living_process_is_left_alone(store: Store, places: Paths) -> None:
    child, _, reply = begin(places)
    try:
        turn = store.start_turn(None, "Another", provenance=PROVENANCE)
        assert store.message(reply).state == "generating"
        assert store.message(turn.reply).state == "generating"
    finally:
        child.kill()


def test_a_store_that_is_closed_writes_no_more(store: Store, places: Paths) -> None:
    with Store.open(places) as other:
        turn = other.start_turn(None, "Hi", provenance=PROVENANCE)
        assert store.message(turn.reply).state == "generating"
    assert store.message(turn.reply).state == "incomplete"
    assert list(places.history.with_suffix(".writers").iterdir()) == []


def test_what_killed_processes_leave_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "writers"
    folder.mkdir()
    (folder / "0123456789abcdef").touch()
    living, new = Writers(folder), Writers(folder)
    names = {living.own(), new.own()}
    assert {path.name for path in folder.iterdir()} == names
    assert all(living.is_alive(name) for name in names)
    assert not living.is_alive("0123456789abcdef")
    assert not living.is_alive(None)
    new.close()
    assert {path.name for path in folder.iterdir()} == {living.own()}
    living.close()


def test_two_who_look_at_once_see_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "writers"
    writers = Writers(folder)
    writers.own()
    (folder / "dead").touch()
    descriptor = os.open(folder / "dead", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    assert not writers.is_alive("dead")
    os.close(descriptor)
    writers.close()


def test_a_name_that_is_swept_away_before_it_is_locked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "writers"
    flock = fcntl.flock
    swept: list[str] = []

    def sweep_first(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not swept:
            (path,) = folder.iterdir()
            path.unlink()
            swept.append(path.name)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    writers = Writers(folder)
    assert writers.own() not in swept
    assert writers.is_alive(writers.own())
    assert Writers(folder).is_alive(writers.own())
    writers.close()


def test_a_reply_that_was_finished_belongs_to_nobody(store: Store, say: Say) -> None:
    turn = say(None, "Hi")
    row = store._database.read(
        lambda connection: connection.execute(
            "SELECT writer FROM messages WHERE seq = ?", (turn.reply,)
        ).fetchone()
    )
    assert row == (None,)
