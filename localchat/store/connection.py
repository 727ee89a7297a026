"""One connection to the file: how it is opened, and what SQLite's errors mean to the user."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from localchat.errors import HistoryFailed, OutOfSpace

Row = tuple[Any, ...]
Values = Sequence[Any] | Mapping[str, Any]

_PATIENCE = 10_000  # milliseconds; writers wait in a queue of their own, see `lock`

# Text that SQLite sorts or deletes must not stay on disk: temp_store, secure_delete.
# A commit is on the disk when it returns: synchronous, and fullfsync where fsync is not enough.
_PRAGMAS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA foreign_keys = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = 1048576;
"""
PAGE_SIZE = 4096
"""Bytes. The history is made of such pages."""
SIDE_FILES = ("-wal", "-shm")
"""What SQLite's files beside the history are called: its name and this."""

Damage = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError, json.JSONDecodeError)
"""What a damaged file shows itself by: to SQLite, or within a text, which it does not look into."""


def connect(path: Path) -> apsw.Connection:
    """Opens the existing file at `path`. Raises apsw.Error."""
    _make_private(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_PATIENCE)
        # The last one to close the file would merge the log into it: 5 ms of waiting for the disk,
        # which every one-shot would pay. wal_autocheckpoint does it at one in fifty.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        every(connection, _PRAGMAS)  # all of them: execute stops at the first row
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path) -> apsw.Connection:
    """Makes a new file at `path`, and opens it for filling: what is written is not yet durable.

    Raises apsw.Error, OSError.
    """
    remove(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    _make_private(path)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    # Incremental: freed pages are given back in place, where VACUUM copies all text to a temporary
    # file.
    every(
        connection,
        f"""
        PRAGMA page_size = {PAGE_SIZE};
        PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA foreign_keys = ON;
        PRAGMA temp_store = MEMORY;
        PRAGMA journal_mode = MEMORY;
        PRAGMA synchronous = OFF;
        """,
    )
    return connection


def publish(connection: apsw.Connection, made: Path, path: Path) -> None:
    """Closes a file that was made with `create`, and moves it to `path` as one durable step."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    for name in SIDE_FILES:
        Path(f"{made}{name}").unlink(missing_ok=True)
    sync(made)
    made.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until the file, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Removes a file made with `create` that was not finished."""
    for name in ("", "-journal", *SIDE_FILES):
        Path(f"{path}{name}").unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    """SQLite gives the files beside it the mode of `path`, but leaves those that exist alone."""
    for name in ("", *SIDE_FILES):
        with contextlib.suppress(FileNotFoundError):
            place = f"{path}{name}"
            if stat.S_IMODE(os.stat(place).st_mode) != 0o600:  # noqa: PTH116 - at every start
                os.chmod(place, 0o600)  # noqa: PTH101


@contextlib.contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """A write transaction: all of what is done in it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on some errors SQLite has undone it itself
            connection.execute("ROLLBACK")
        raise


def one(connection: apsw.Connection, query: str, values: Values = ()) -> Row | None:
    """The first row of the answer."""
    return connection.execute(query, values).fetchone()


def every(connection: apsw.Connection, query: str, values: Values = ()) -> list[Row]:
    """All rows of the answer."""
    return connection.execute(query, values).fetchall()


def empty_log(connection: apsw.Connection) -> None:
    """Overwritten text is still in the log until it is merged and cut; readers may forbid that."""
    with contextlib.suppress(apsw.BusyError):
        every(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def give_back_room(connection: apsw.Connection) -> None:
    """Makes the file as small as what is in it."""
    connection.execute("INSERT INTO words(words) VALUES('optimize')")
    every(connection, "PRAGMA incremental_vacuum")
    empty_log(connection)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns SQLite's and the system's errors into ours."""
    try:
        yield
    except apsw.FullError as error:
        raise _no_room(path) from error
    except apsw.IOError as error:
        # A quota or a limit on the size of files is an "I/O error" to SQLite, not a full disk.
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE:
            raise _no_room(path) from error
        raise HistoryFailed(
            f"The history can't be read or written: {error}.",
            f"Check the disk that holds {path.parent}.",
        ) from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise HistoryFailed(
            "The history is in use by another program.", f"Close what else has {path} open."
        ) from error
    except Damage as error:
        raise HistoryFailed(
            f"The history is damaged, and could not be recovered: {error}.",
            f"Move {path} away; a new history is then begun.",
        ) from error
    except apsw.Error as error:
        raise HistoryFailed(
            f"The history can't be read or written: {error}.", f"Check {path} and its folder."
        ) from error
    except OSError as error:
        raise HistoryFailed(
            f"The history can't be read or written: {error.strerror}.",
            f"Check {path} and its folder.",
        ) from error


def _no_room(path: Path) -> OutOfSpace:
    return OutOfSpace(
        "There is no room left to write the history.",
        f"Free some space on the disk that holds {path.parent}, or purge old conversations.",
    )
