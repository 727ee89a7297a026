"""Rows are read out of a file, and out of its log, without SQLite."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from localchat.paths import Paths
from localchat.store import recovery, salvage
from localchat.store.connection import PAGE_SIZE, connect, every
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Contents, Say


def test_rows_are_read_without_sqlite(places: Paths, filled: Contents) -> None:
    connection = connect(places.history)
    tables = ("conversations", "messages", "generations")
    expected = {table: every(connection, f"SELECT rowid, * FROM {table}") for table in tables}
    connection.close()
    found: dict[str, list[tuple[object, ...]]] = {table: [] for table in tables}
    for id_, row in salvage.rows(places.history):
        if table := recovery.TABLES.get(len(row)):
            whole_row = (id_, *row[1:]) if table == "messages" else row
            found[table].append((id_, *whole_row))
    for table in tables:
        assert sorted(found[table]) == sorted(expected[table])


def test_rows_in_the_log_are_read_too(places: Paths, store: Store, say: Say) -> None:
    turn = say(None, "Hi", "long " * 5000)
    merge_point = places.history.stat().st_size
    for _ in range(3):
        say(turn.conversation, "More")
    rows = {id_ for id_, row in salvage.rows(places.history) if len(row) == 9}
    assert rows == {message.id for message in store.tree(turn.conversation)}
    assert Path(f"{places.history}-wal").stat().st_size > 0
    assert places.history.stat().st_size == merge_point


def test_what_was_not_committed_is_not_read(places: Paths, store: Store, say: Say) -> None:
    turn = say(None, "Hi")
    log = Path(f"{places.history}-wal")
    before = log.stat().st_size
    store.start_turn(turn.conversation, "Not committed", provenance=PROVENANCE)
    assert log.stat().st_size - before > 2 * PAGE_SIZE
    os.truncate(log, log.stat().st_size - 100)  # in the page that ends the transaction
    texts = [row[4] for _, row in salvage.rows(places.history) if len(row) == 9]
    assert texts == ["Hi", "Yes."]


def test_an_earlier_round_of_the_log_is_not_read(places: Paths, store: Store) -> None:
    turn = store.start_turn(None, "Hi", provenance=PROVENANCE)
    for number in range(20):
        store.checkpoint(turn.reply, f"Old {number}")
    store._database.read(lambda connection: connection)
    connection = connect(places.history)
    every(connection, "PRAGMA wal_checkpoint(RESTART)")
    connection.close()
    size = Path(f"{places.history}-wal").stat().st_size
    store.checkpoint(turn.reply, "New")
    assert Path(f"{places.history}-wal").stat().st_size == size
    assert [row[4] for _, row in salvage.rows(places.history) if len(row) == 9] == ["Hi", "New"]


def test_every_size_of_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t(a, b)")
    values = [None, 0, 1, -1, 127, -128, 2**15, -(2**23), 2**31, 2**47, -(2**63), 0.5, "é", b"\0"]
    values += ["x" * size for size in [*range(440, 540), *range(4000, 4200), 12_345, 100_000]]
    with connection:
        connection.executemany("INSERT INTO t VALUES(?, ?)", ((value, "end") for value in values))
    connection.execute("INSERT INTO t(rowid, a, b) VALUES(?, 1, 2)", (2**62,))
    expected = every(connection, "SELECT rowid, a, b FROM t")
    connection.close()
    found = sorted((id_, *row) for id_, row in salvage.rows(path) if len(row) == 2)
    assert found == expected
