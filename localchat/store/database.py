"""The file of conversations: opened, kept whole, shared by several processes.

Every read and write goes through `Database.read` and `Database.write`. Each is one transaction, in
the file that is the history at that moment, and done again once if the file proves damaged.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import apsw

from localchat.errors import HistoryFailed, HistoryReadOnly
from localchat.paths import make_private
from localchat.store import aside, migrations
from localchat.store.connection import (
    PAGE_SIZE,
    Damage,
    connect,
    create,
    every,
    publish,
    remove,
    transaction,
    translated,
)
from localchat.store.lock import Lock

T = TypeVar("T")
Work = Callable[[apsw.Connection], T]

_STEPS = 500  # of SQLite's machine, between two looks at the clock: some 10 µs
_MAGIC = b"SQLite format 3\0"
_DAY = 86_400.0  # seconds


class Database:
    """One connection, which the threads of a process take turns at."""

    def __init__(self, path: Path, check_budget: float) -> None:
        """Opens the file at `path`, and makes it if it is missing.

        `check_budget` is how many seconds the check on opening may take; what it does not reach is
        for `check`.
        """
        self.path = path
        self.notes: list[str] = []
        """What was done to the file, each a sentence for the user."""
        self._turn = threading.RLock()
        self._is_closed = False
        self._connection: apsw.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version = 0
        with translated(path):
            make_private(path.parent)
            self._lock = Lock(path.with_suffix(".lock"))
            try:
                self._attempt(lambda: self._open(check_budget))
            except BaseException:
                self.close()
                raise

    @property
    def is_read_only(self) -> bool:
        """Whether a newer localchat has written the file: its rules aren't known here."""
        return self._version > len(migrations.MIGRATIONS)

    def read(self, work: Work[T]) -> T:
        """What `work` returns, from one state of the file. Raises LocalchatError."""

        def look() -> T:
            connection = self._current()
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

        with self._use():
            return self._attempt(look)

    def write(self, work: Work[T]) -> T:
        """What `work` returns, once all it has written is on the disk; or nothing is written.

        Raises LocalchatError.
        """

        def change() -> T:
            with self._lock.held():
                connection = self._current()
                with transaction(connection):
                    self._refuse_newer(migrations.version(connection))
                    return work(connection)

        with self._use():
            self._refuse_newer(self._version)
            return self._attempt(change)

    def exclusively(self, work: Work[T]) -> T:
        """Like `write`, for what can't be done in a transaction."""

        def alone() -> T:
            with self._lock.held():
                return work(self._current())

        with self._use():
            self._refuse_newer(self._version)
            return self._attempt(alone)

    @property
    def is_check_due(self) -> bool:
        """Whether the whole file was last checked more than a day ago."""
        return not 0 <= time.time() - self._lock.checked < _DAY

    def check(self) -> None:
        """Checks the whole file, and recovers it if it is damaged. Raises LocalchatError."""
        with self._use():
            self._attempt(lambda: self._check(self._current(), math.inf))
            self._lock.set_checked(time.time())

    def close(self) -> None:
        """Once the threads are done with it that use it now. May be called again."""
        with self._turn:
            self._is_closed = True
            self._disconnect()
            self._lock.close()

    @contextlib.contextmanager
    def _use(self) -> Iterator[None]:
        """This thread's turn."""
        with self._turn, translated(self.path):
            if self._is_closed:  # its lock's descriptor may be another file's by now
                raise HistoryFailed("The history is closed: this localchat is leaving.")
            yield

    # opening

    def _open(self, check_budget: float) -> None:
        if not self._is_ready():
            with self._lock.held():
                self._prepare()
        connection = self._connect()
        if self._version < len(migrations.MIGRATIONS):
            with self._lock.held():
                migrations.migrate(connection)
                self._version = migrations.version(connection)
        if check_budget:
            self._check(connection, check_budget)

    def _is_ready(self) -> bool:
        """Whether there is a file, and no process was killed while it replaced it."""
        status = self._look()
        return bool(status and status.st_size >= PAGE_SIZE) and not aside.is_unfinished(self.path)

    def _look(self) -> os.stat_result | None:
        """Remembers which file is the history now."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - at every transaction
        except FileNotFoundError:
            self._identity = None
            return None
        self._identity = (status.st_dev, status.st_ino)
        return status

    def _prepare(self) -> None:
        """Makes the file, or what was left of making it again."""
        if aside.is_unfinished(self.path):
            self.notes.append(f"A damaged history was moved: {aside.finish(self.path)}")
        elif not self.path.exists() and not os.path.exists(f"{self.path}-wal"):  # noqa: PTH110
            making = self.path.with_suffix(".new")
            connection = create(making)
            try:
                migrations.migrate(connection)
                publish(connection, making, self.path)
            except BaseException:
                connection.close()
                remove(making)
                raise
            self._lock.set_checked(time.time())
        elif not self.path.exists() or self.path.stat().st_size < PAGE_SIZE:
            # SQLite would begin it anew, and throw its log away, or take it for the new one's.
            raise apsw.NotADBError("it is gone, or has no page")

    def _connect(self) -> apsw.Connection:
        self._disconnect()
        self._look()
        self._connection = connect(self.path)
        self._version = migrations.version(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _current(self) -> apsw.Connection:
        """The connection to the file that is the history now: it may have been replaced."""
        opened = self._identity
        if not self._is_ready() or self._identity != opened or self._connection is None:
            self._open(0.0)
        assert self._connection is not None
        return self._connection

    # faults

    def _refuse_newer(self, version: int) -> None:
        if version > len(migrations.MIGRATIONS):
            raise HistoryReadOnly(
                "A newer localchat has written the history: it can be read, but not added to.",
                "Update localchat, or set LOCALCHAT_HOME to another folder.",
            )

    def _attempt(self, job: Callable[[], T]) -> T:
        """What `job` returns; if the file proves damaged, from what could be recovered of it."""
        try:
            return job()
        except Damage as damage:
            self._recover(damage)
            return job()

    def _recover(self, damage: Exception) -> None:
        opened = self._identity
        with self._lock.held():
            self._look()
            if self._identity != opened:  # another process was first
                self._disconnect()
                return
            if _written_by_newer(self.path):
                raise HistoryFailed(
                    f"The history is damaged: {damage}.",
                    "A newer localchat has written it, which can recover it.",
                ) from damage
            from localchat.store import recovery  # 1 ms that others need not pay

            self._disconnect()
            self.notes.append(recovery.recover(self.path).note)
            self._lock.set_checked(time.time())

    def _check(self, connection: apsw.Connection, budget: float) -> None:
        """Checks as much as so many seconds allow. Raises apsw.CorruptError."""
        deadline = time.perf_counter() + budget
        connection.set_progress_handler(lambda: time.perf_counter() > deadline, _STEPS)
        # Table by table: all at once also compares the words of the search with each other, which
        # takes seven times as long as all the rest.
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
        with contextlib.suppress(apsw.InterruptError):
            for (table,) in every(connection, query):
                found = connection.execute(f"PRAGMA quick_check('{table}')").get
                if found != "ok":
                    raise apsw.CorruptError(found)
        connection.set_progress_handler(None)


def _written_by_newer(path: Path) -> bool:
    """What the head of a file says, even if SQLite can't open it."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    version = int.from_bytes(head[60:], "big")
    # A greater number is no schema's, but damage.
    return head.startswith(_MAGIC) and len(migrations.MIGRATIONS) < version < 1000
