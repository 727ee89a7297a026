"""The finished rows of a batch, each of them durable once its group is committed.

The one truth of a run: its output is made of this. SQLite, since rows are looked up by their ids
and come out in another order than they came in, in memory that does not grow with their number.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from localchat.batch import outcome
from localchat.batch.outcome import Outcome
from localchat.batch.request import Row
from localchat.errors import LocalchatError, OutOfSpace

_PATIENCE = 10_000  # milliseconds

# A commit is on the disk when it returns: synchronous, and fullfsync where fsync is not enough.
_PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = FILE;
"""
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS rows (
        id INTEGER PRIMARY KEY,    -- in the order they were finished
        number INTEGER NOT NULL,   -- among the rows of the input; 0: it has it no longer
        line INTEGER NOT NULL,
        custom_id TEXT NOT NULL UNIQUE,
        digest BLOB NOT NULL,      -- of what was asked
        failed INTEGER NOT NULL,
        source TEXT NOT NULL,      -- JSON: the input's own columns
        outcome TEXT NOT NULL      -- JSON: see localchat.batch.outcome
    );
    CREATE INDEX IF NOT EXISTS rows_number ON rows (number);
    CREATE INDEX IF NOT EXISTS rows_failed ON rows (failed) WHERE failed;
    CREATE TABLE IF NOT EXISTS outputs (path TEXT PRIMARY KEY, stamp TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS total (rows INTEGER NOT NULL);
"""


class Finished(NamedTuple):
    """A row and what came of it."""

    row: Row
    outcome: Outcome


class Entry(NamedTuple):
    """A finished row as the journal keeps it."""

    id: int
    number: int
    line: int
    custom_id: str
    digest: bytes
    source: str
    outcome: Outcome


class Place(NamedTuple):
    """What a row is known again by, and where it was found."""

    number: int
    line: int
    digest: bytes
    failed: bool


class Journal:
    """One thread's, like its connection; another may have a journal of its own on the same file."""

    def __init__(self, path: Path) -> None:
        """Opens the file, or makes it. Raises OutOfSpace, LocalchatError."""
        self._seen: set[str] = set()
        self._has_spilled = False
        self._places: dict[str, Place] = {}
        self._placed = range(0)
        with _explained():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = apsw.Connection(str(path))
            try:
                self._connection.set_busy_timeout(_PATIENCE)
                self._run(_PRAGMAS)
                self._run(_SCHEMA)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        try:
            self._connection.wal_checkpoint()
        except apsw.Error:  # no room: all of it stays in the log, which counts as well
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._connection.close()

    def commit(
        self, group: Iterable[Finished], moved: Iterable[Row] = (), total: int | None = None
    ) -> None:
        """Returns once all of it is on the disk; nothing of it is, if this raises.

        `moved` rows have been finished before, and have another place in the input now. `total`:
        how many rows the input seems to have.
        """
        with _explained(), self._connection:
            self._connection.executemany(
                "REPLACE INTO rows (number, line, custom_id, digest, failed, source, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        row.number,
                        row.line,
                        row.custom_id,
                        row.digest,
                        came.error is not None,
                        row.source,
                        came.to_json(),
                    )
                    for row, came in group
                ],
            )
            self._connection.executemany(
                "UPDATE rows SET number = ?, line = ? WHERE custom_id = ?",
                [(row.number, row.line, row.custom_id) for row in moved],
            )
            if total is not None:
                self._connection.execute("REPLACE INTO total (rowid, rows) VALUES (1, ?)", (total,))

    def find(self, custom_id: str) -> Entry | None:
        found = self._connection.execute(f"{_SELECT} WHERE custom_id = ?", (custom_id,)).get
        return None if found is None else _entry(*found)

    def place(self, custom_id: str, number: int) -> Place | None:
        """Of a finished row, as it was before anybody asked about those near its `number`."""
        if number not in self._placed:
            self._look_up(number)
        if found := self._places.get(custom_id):
            return found
        # It may have been anywhere, if the input is another now.
        row = self._connection.execute(f"{_PLACE} WHERE custom_id = ?", (custom_id,)).get
        return None if row is None else _place(*row[1:])

    def _look_up(self, number: int) -> None:
        """Many places at once, which takes a tenth of the time: inputs mostly stay as they are."""
        found = self._connection.execute(
            f"{_PLACE} WHERE number >= ? ORDER BY number LIMIT ?", (number, _MOST_PLACES)
        )
        self._places = {custom_id: _place(*values) for custom_id, *values in found}
        self._placed = range(number, number + _MOST_PLACES)

    @property
    def is_empty(self) -> bool:
        """Whether no row was ever finished, also none that the input has no longer."""
        return self._connection.execute("SELECT 1 FROM rows LIMIT 1").get is None

    def counts(self) -> tuple[int, int]:
        """(Finished rows, those of them that failed)."""
        finished = self._connection.execute("SELECT count(*) FROM rows WHERE number > 0").get
        failed = self._connection.execute(
            "SELECT count(*) FROM rows WHERE failed AND number > 0"
        ).get
        return finished, failed

    @property
    def total(self) -> int | None:
        """Rows of the input, as far as known."""
        found: int | None = self._connection.execute("SELECT rows FROM total").get
        return found

    def entries(self, *, in_order: bool = True) -> Iterator[Entry]:
        """All of them, by their place in the input, or as they were finished."""
        order = "number, id" if in_order else "id"
        with _explained():
            for found in self._connection.execute(f"{_SELECT} WHERE number > 0 ORDER BY {order}"):
                yield _entry(*found)

    def hide_unseen(self) -> None:
        """Leaves rows out from now on whose ids were not given to `see`, until they come again."""
        with _explained():
            self._spill()
            self._connection.execute(
                "UPDATE rows SET number = 0"
                " WHERE custom_id NOT IN (SELECT custom_id FROM temp.seen) AND number > 0"
            )

    def see(self, custom_id: str) -> bool:
        """False if this id was given before, in this journal's life."""
        if custom_id in self._seen:
            return False
        if self._has_spilled and self._connection.execute(_IS_SEEN, (custom_id,)).get:
            return False
        self._seen.add(custom_id)
        if len(self._seen) >= _MOST_SEEN:
            self._spill()
        return True

    def _spill(self) -> None:
        """Moves the ids that were seen out of memory."""
        with _explained(), self._connection:
            self._run(_SEEN)
            self._connection.executemany(
                "INSERT INTO temp.seen VALUES (?)", ((id_,) for id_ in sorted(self._seen))
            )
        self._seen.clear()
        self._has_spilled = True

    def _run(self, statements: str) -> None:
        """All of them: a statement that gives a row would end the others."""
        for _ in self._connection.execute(statements):
            pass

    def stamps(self) -> dict[str, str]:
        """What the files that were made of it looked like: {path: stamp}."""
        with _explained():
            return dict(self._connection.execute("SELECT path, stamp FROM outputs"))

    def set_stamp(self, path: str, stamp: str) -> None:
        with _explained():
            self._connection.execute("REPLACE INTO outputs VALUES (?, ?)", (path, stamp))


_PLACE = "SELECT custom_id, number, line, digest, failed FROM rows"
_MOST_PLACES = 512  # looked up at once
_SELECT = "SELECT id, number, line, custom_id, digest, source, outcome FROM rows"
_MOST_SEEN = 100_000  # ids in memory
# In a file that goes with the process.
_SEEN = "CREATE TABLE IF NOT EXISTS temp.seen (custom_id TEXT PRIMARY KEY) WITHOUT ROWID"
_IS_SEEN = "SELECT 1 FROM temp.seen WHERE custom_id = ?"


def entry_of(finished: Finished) -> Entry:
    """As the journal would give it out, but for its place there."""
    row, came = finished
    return Entry(0, row.number, row.line, row.custom_id, row.digest, row.source, came)


def _place(number: int, line: int, digest: bytes, failed: int) -> Place:
    return Place(number, line, digest, bool(failed))


def _entry(
    id_: int, number: int, line: int, custom_id: str, digest: bytes, source: str, came: str
) -> Entry:
    return Entry(id_, number, line, custom_id, digest, source, outcome.from_json(came))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """SQLite's errors as sentences."""
    try:
        yield
    except apsw.FullError as error:
        raise no_space() from error
    except apsw.Error as error:
        raise LocalchatError(
            f"The record of the batch can't be read or written: {error}.",
            "See if the disk is in order; --restart begins anew.",
        ) from error


def no_space() -> OutOfSpace:
    return OutOfSpace(
        "The disk is full. All rows that were finished before are safe.",
        "Make room, then run the same command: it goes on where it stopped.",
    )
