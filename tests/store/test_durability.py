"""What was acknowledged is there, however the process ends; each proof fails on a planted bug."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from localchat.paths import Paths
from localchat.store import connection as connection_module
from localchat.store.connection import connect, every
from localchat.store.database import Database
from localchat.store.records import Outcome
from localchat.store.store import Store
from tests.store.children import Acknowledge, Child
from tests.store.conftest import PROVENANCE
from tests.store.test_file import whole
from tests.store.watched import watched_disk


def chat(places: Paths, acknowledge: Acknowledge, turns: int | None = None) -> None:
    """Takes turns in a conversation of its own; acknowledges each step when it is stored.

    With a number of turns it leaves out the checkpoints.
    """
    with Store.open(places) as store:
        conversation = None
        number = 0
        while turns is None or number < turns:
            number += 1
            turn = store.start_turn(conversation, f"Question {number}", provenance=PROVENANCE)
            conversation = turn.conversation
            acknowledge("asked", turn.user, turn.reply, number)
            if turns is None:
                store.checkpoint(turn.reply, f"Half {number}", "")
                acknowledge("half", turn.reply, number)
            store.finish(turn.reply, f"Answer {number}", "", Outcome("complete"))
            acknowledge("answered", turn.reply, number)


def lost(places: Paths, steps: list[list[str]]) -> list[list[str]]:
    """The acknowledged steps that are not in the store."""
    at_least = {"half": ("Half", "Answer"), "answered": ("Answer",)}
    with Store.open(places) as store:
        rows = store._database.read(
            lambda connection: every(connection, "SELECT seq, content, state FROM messages")
        )
    found = {seq: (content.split(), state) for seq, content, state in rows}

    def is_there(step: list[str]) -> bool:
        what, *ids, number = step
        if what == "asked":
            return all(int(id_) in found for id_ in ids) and found[int(ids[0])] == (
                ["Question", number],
                "complete",
            )
        content, state = found.get(int(ids[0]), ([], ""))
        is_whole = content in [[word, number] for word in at_least[what]]
        return is_whole and (what == "half" or state == "complete")

    return [step for step in steps if not is_there(step)]


def kill_at_random(places: Paths, rounds: int) -> int:
    """Kills so many chats; how many steps they acknowledged. Fails if one of them is lost."""
    rng = random.Random(rounds)
    steps: list[list[str]] = []
    for _ in range(rounds):
        child = Child(lambda acknowledge: chat(places, acknowledge))
        if rng.random() < 0.75:  # else it may be killed while it opens the store
            steps.append(child.line())
        time.sleep(rng.uniform(0.0, 0.04))
        steps += child.kill()
        assert lost(places, steps) == []
    whole(places)
    with Store.open(places) as store:
        assert store.notes == ()
        states = {one.state for line in store.newest(1000) for one in store.tree(line[0].id)}
    assert states <= {"complete", "incomplete"}
    return len(steps)


@pytest.mark.parametrize(
    "rounds", [30, pytest.param(300, marks=pytest.mark.long)], ids=["30", "300"]
)
def test_nothing_acknowledged_is_lost_when_processes_are_killed(places: Paths, rounds: int) -> None:
    assert kill_at_random(places, rounds) > rounds


def commit_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes gather in one transaction, which is committed at every fourth."""

    def write(self: Database, work: Callable[[apsw.Connection], Any]) -> Any:
        connection = self._current()
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        result = work(connection)
        count = self.__dict__["count"] = self.__dict__.get("count", 0) + 1
        if count % 4 == 0:
            connection.execute("COMMIT")
        return result

    monkeypatch.setattr(Database, "write", write)


def skip_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "checkpoint", lambda *_: None)


@pytest.mark.parametrize("bug", [commit_late, skip_checkpoints])
def test_the_kills_find_a_planted_bug(
    places: Paths, monkeypatch: pytest.MonkeyPatch, bug: Callable[[pytest.MonkeyPatch], None]
) -> None:
    bug(monkeypatch)
    with pytest.raises(AssertionError, match=r"asked|half|answered"):
        kill_at_random(places, 100)


@pytest.mark.parametrize(
    ("writers", "turns"),
    [(8, 75), pytest.param(8, 5_000, marks=pytest.mark.long)],
    ids=["150 rows each", "10,000 rows each"],
)
def test_writers_do_not_get_in_each_others_way(places: Paths, writers: int, turns: int) -> None:
    children = [Child(lambda acknowledge: chat(places, acknowledge, turns)) for _ in range(writers)]
    steps = [step for child in children for step in child.end()]
    assert len(steps) == writers * turns * 2
    assert lost(places, steps) == []
    with Store.open(places) as store:
        assert store.stats()[:2] == (writers, writers * turns * 2)
    whole(places)


def written_since_sync(places: Paths) -> list[str]:
    """The files with writes that were not on the disk when a step was acknowledged."""
    with watched_disk() as disk:
        chat(places, lambda *_: disk.note("acknowledged"), turns=40)
    found = []
    unsynced: set[str] = set()
    for what, name in disk.events:
        if what == "write" and name.endswith("-wal"):
            unsynced.add(name)
        elif what == "sync":
            unsynced.discard(name)
        elif what == "acknowledged":
            found += sorted(unsynced)
            unsynced.clear()
    assert ("write", "history.db-wal") in disk.events
    return found


def test_what_is_acknowledged_is_on_the_disk(places: Paths) -> None:
    """A kill can't tell: what a killed process has written, the system still writes out."""
    assert written_since_sync(places) == []


def test_the_watch_finds_a_commit_without_sync(
    places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    pragmas = connection_module._PRAGMAS.replace("synchronous = FULL", "synchronous = NORMAL")
    monkeypatch.setattr(connection_module, "_PRAGMAS", pragmas)
    assert written_since_sync(places) != []


def test_a_new_file_is_on_the_disk_before_it_takes_its_place(
    places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    replace, sync = Path.replace, connection_module.sync

    def watched_replace(self: Path, target: Path) -> Path:
        done.append(("replace", target.name))
        return replace(self, target)

    def watched_sync(path: Path) -> None:
        done.append(("sync", path.name))
        sync(path)

    monkeypatch.setattr(Path, "replace", watched_replace)
    monkeypatch.setattr(connection_module, "sync", watched_sync)
    Store.open(places).close()
    assert done == [("sync", "history.new"), ("replace", "history.db"), ("sync", "data")]
    connection = connect(places.history)
    assert connection.pragma("journal_mode") == "wal"
    connection.close()
