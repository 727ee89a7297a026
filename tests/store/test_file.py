"""The file: private, durable, of a known schema, shared by processes."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import apsw
import pytest

from localchat.errors import HistoryFailed, HistoryReadOnly, LocalchatError
from localchat.paths import Paths
from localchat.store import migrations
from localchat.store.connection import connect, create, every
from localchat.store.records import Outcome
from localchat.store.recovery import TABLES
from localchat.store.store import Store
from tests.conftest import wait_until
from tests.store.children import Acknowledge, Child
from tests.store.conftest import PROVENANCE, Say


def whole(places: Paths) -> None:
    """Fails if the file is not in order: pages, references, the words of the search."""
    connection = connect(places.history)
    assert every(connection, "PRAGMA integrity_check") == [("ok",)]
    assert every(connection, "PRAGMA foreign_key_check") == []
    every(connection, "INSERT INTO words(words, rank) VALUES('integrity-check', 1)")
    connection.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_private_under_any_umask(places: Paths, umask: int) -> None:
    before = os.umask(umask)
    try:
        with Store.open(places) as store:
            turn = store.start_turn(None, "Hi", provenance=PROVENANCE)
            found = {
                path.relative_to(places.data): stat.S_IMODE(path.stat().st_mode)
                for path in [places.data, *places.data.rglob("*")]
            }
            store.finish(turn.reply, "Ho", "", Outcome("complete"))
    finally:
        os.umask(before)
    (writer,) = [path for path in found if path.parent.name == "history.writers"]
    assert found == {
        Path(): 0o700,
        Path("history.db"): 0o600,
        Path("history.db-wal"): 0o600,
        Path("history.db-shm"): 0o600,
        Path("history.lock"): 0o600,
        Path("history.writers"): 0o700,
        writer: 0o600,
    }


def test_a_new_file_is_private_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.store.connection._make_private", lambda _: None)
    before = os.umask(0)
    try:
        create(tmp_path / "new").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_file_that_others_can_read_is_made_private(places: Paths, say: Say) -> None:
    say(None, "Hi")
    for name in ("", "-wal", "-shm"):
        Path(f"{places.history}{name}").chmod(0o644)
    with Store.open(places):
        for name in ("", "-wal", "-shm"):
            assert stat.S_IMODE(Path(f"{places.history}{name}").stat().st_mode) == 0o600


def test_a_commit_is_durable_and_deleted_text_is_overwritten(places: Paths, store: Store) -> None:
    pragmas = {
        "journal_mode": "wal",
        "synchronous": 2,
        "fullfsync": 1,
        "foreign_keys": 1,
        "secure_delete": 1,
        "temp_store": 2,
        "auto_vacuum": 2,
        "trusted_schema": 0,
    }
    connection = store._database.read(lambda connection: connection)
    assert {name: connection.pragma(name) for name in pragmas} == pragmas
    assert every(connection, "SELECT v FROM words_config WHERE k = 'secure-delete'") == [(1,)]


def test_sqlite_is_one_without_the_bug_of_its_log() -> None:
    assert apsw.SQLITE_VERSION_NUMBER >= 3_051_003


def test_another_folder_than_the_users_is_refused(places: Paths) -> None:
    places.data.parent.mkdir(parents=True)
    places.data.symlink_to(places.data.parent)
    with pytest.raises(LocalchatError):
        Store.open(places)


def test_what_the_system_refuses_is_a_sentence(places: Paths) -> None:
    places.data.mkdir(parents=True)
    places.history.mkdir()
    (places.history / "file").touch()
    with pytest.raises(HistoryFailed):
        Store.open(places)


# schema


def test_the_tables_are_the_ones_that_recovery_knows(store: Store) -> None:
    def columns(connection: apsw.Connection) -> dict[str, int]:
        tables = every(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {name: len(every(connection, f"PRAGMA table_info({name})")) for (name,) in tables}

    counts = store._database.read(columns) | {"sqlite_schema": 5}
    assert {counts[name]: name for name in TABLES.values()} == TABLES
    others = {count for name, count in counts.items() if name not in TABLES.values()}
    assert not others & set(TABLES)


def test_an_older_schema_is_migrated(places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        with Store.open(places) as old:
            turn = old.start_turn(None, "Why is the sky blue?", provenance=PROVENANCE)
            old.finish(turn.reply, "Scattering.", "", Outcome("complete"))
    with Store.open(places) as new:
        assert [hit.message for hit in new.search("scattering")] == [turn.reply]
        assert new.notes == ()
    whole(places)


def test_a_migration_that_fails_changes_nothing(
    places: Paths, say: Say, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = say(None, "Hi")
    store.close()

    def m003_fails(connection: apsw.Connection) -> None:
        connection.execute("DELETE FROM conversations; SELECT no_such_function()")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, m003_fails])
        with pytest.raises(HistoryFailed):
            Store.open(places)
    with Store.open(places) as again:
        assert again.conversation(turn.conversation).title == "Hi"
        assert not again.is_read_only


def test_a_newer_schema_is_read_and_not_written(places: Paths, say: Say, store: Store) -> None:
    turn = say(None, "Why is the sky blue?")
    connection = connect(places.history)
    connection.execute("ALTER TABLE conversations ADD COLUMN mood TEXT")
    connection.pragma("user_version", len(migrations.MIGRATIONS) + 1)
    connection.close()
    with Store.open(places) as old:
        assert old.is_read_only
        assert old.message(turn.user).content == "Why is the sky blue?"
        assert len(old.path(turn.conversation)) == 2
        assert len(old.search("sky")) == 1
        for write in (
            lambda: old.start_turn(None, "Hi", provenance=PROVENANCE),
            lambda: old.delete([turn.conversation]),
            lambda: old.purge(0.0),
        ):
            with pytest.raises(HistoryReadOnly) as caught:
                write()
            assert caught.value.hint
    # One that was open while a newer localchat took the file over.
    with pytest.raises(HistoryReadOnly):
        store.start_turn(None, "Hi", provenance=PROVENANCE)
    assert places.history.exists()


def open_at_once(places: Paths, count: int) -> None:
    """So many processes open the history in the same instant, and write to it."""
    start, go = os.pipe()

    def begin(acknowledge: Acknowledge) -> None:
        os.close(go)
        os.read(start, 1)
        with Store.open(places) as store:
            store.start_turn(None, "Hi", provenance=PROVENANCE)
            acknowledge(len(store.notes))

    children = [Child(begin) for _ in range(count)]
    os.close(start)
    os.close(go)
    assert [child.end() for child in children] == [[["0"]]] * count
    with Store.open(places) as store:
        assert store.stats().conversations == count
    whole(places)


def test_processes_that_open_it_at_once_make_it_once(places: Paths) -> None:
    open_at_once(places, 8)


def test_processes_that_open_an_older_one_at_once_migrate_it_once(
    places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        Store.open(places).close()
    open_at_once(places, 8)


def test_a_file_that_was_removed_is_begun_anew(places: Paths, store: Store, say: Say) -> None:
    say(None, "Hi")
    for path in places.data.glob("history.db*"):
        path.unlink()
    turn = say(None, "Again")
    with Store.open(places) as other:
        assert [one.conversation.id for one in other.newest()] == [turn.conversation]
    whole(places)


def test_nobody_waits_forever(
    places: Paths, store: Store, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.store.lock._PATIENCE", 0.05)
    with store._database._lock.held(), Store.open(places) as other:
        assert other.newest() == []
        with pytest.raises(HistoryFailed, match="keeps the history to itself"):
            other.start_turn(None, "Hi", provenance=PROVENANCE)
    say(None, "Hi")


def test_a_check_is_due_once_a_day(places: Paths, store: Store) -> None:
    assert not store.is_check_due
    lock = places.history.with_suffix(".lock")
    for age in (90_000, -90_000):
        os.utime(lock, (time.time() - age,) * 2)
        assert store.is_check_due
        store.check()
        assert not store.is_check_due
    assert store.notes == ()


def test_the_log_does_not_grow_without_end(places: Paths, store: Store, say: Say) -> None:
    for number in range(60):
        say(None, f"word{number} " * 2000)
    assert Path(f"{places.history}-wal").stat().st_size < 3_000_000
    assert wait_until(lambda: places.history.stat().st_size) > 1_000_000
