"""What becomes of a damaged history: it is moved aside, what can be read goes on in a new file.

The new file is complete before the damaged one is moved, see `aside`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

import apsw

from localchat.store import aside, migrations, rows, salvage
from localchat.store.connection import create, every, publish, remove, transaction
from localchat.store.title import title_of

# Rows are known by how many columns they have: those of these tables differ in that from each
# other and from the tables of SQLite and its search.
TABLES = {8: "conversations", 9: "messages", 20: "generations"}


class Recovered(NamedTuple):
    """What was found in a damaged file."""

    conversations: int
    messages: int
    kept: Path
    """Where the damaged file is now."""

    @property
    def note(self) -> str:
        """One sentence for the user."""
        if not self.conversations:
            return (
                f"The history was damaged, and nothing in it can be read; it is kept: {self.kept}"
            )
        return (
            f"The history was damaged; {self.messages:,} messages of {self.conversations:,} "
            f"conversations were recovered, and the damaged file is kept: {self.kept}"
        )


def recover(path: Path) -> Recovered:
    """Replaces the file at `path`, whose lock the caller holds. Raises apsw.Error, OSError."""
    making, made = aside.names(path)
    connection = create(making)
    try:
        migrations.migrate(connection)
        with transaction(connection):
            _fill(connection, path)
        conversations, messages = rows.counts(connection)[:2]
        publish(connection, making, made)
    except BaseException:
        connection.close()
        remove(making)
        raise
    return Recovered(conversations, messages, aside.finish(path))


def _fill(connection: apsw.Connection, damaged: Path) -> None:
    # The rows come in the order of pages, not of references; these are mended at the end.
    connection.execute("PRAGMA defer_foreign_keys = ON")
    for id_, row in salvage.rows(damaged):
        table = TABLES.get(len(row))
        if table is None:
            continue
        values = (id_, *row[1:]) if table == "messages" else row  # its id is its row's
        marks = ", ".join("?" * len(row))
        with contextlib.suppress(apsw.ConstraintError, apsw.MismatchError):
            connection.execute(
                f"INSERT OR IGNORE INTO {table} VALUES({marks})",
                values,
            )
    _mend(connection)


def _is_json(*values: object) -> bool:
    try:
        json.loads(str(values[0]))
    except json.JSONDecodeError:
        return False
    return True


def _mend(connection: apsw.Connection) -> None:
    """Makes a whole of what was found: conversations for their messages, parents, leaves."""
    connection.create_scalar_function("is_json", _is_json, 1)
    orphans = every(
        connection,
        """SELECT conversation, min(created), max(created) FROM messages
           WHERE conversation NOT IN (SELECT id FROM conversations) GROUP BY conversation""",
    )
    for id_, created, updated in orphans:
        connection.execute(
            "INSERT INTO conversations VALUES(?, ?, 0, ?, ?, NULL, '{}', NULL)",
            (id_, title_of(rows.first_words(connection, id_)), created, updated),
        )
    # A lost parent is most likely the message after the last one that is left before it.
    connection.execute("""
        UPDATE messages SET parent = (
            SELECT max(other.seq) FROM messages AS other
            WHERE other.conversation = messages.conversation AND other.seq < messages.seq
        ) WHERE parent IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM messages AS other
            WHERE other.seq = messages.parent AND other.conversation = messages.conversation
            AND other.seq < messages.seq
        );
        UPDATE conversations SET leaf = (
            SELECT max(seq) FROM messages WHERE conversation = conversations.id
        ) WHERE leaf IS NULL OR NOT EXISTS (
            SELECT 1 FROM messages WHERE seq = leaf AND conversation = conversations.id
        );
        UPDATE conversations SET settings = '{}' WHERE NOT is_json(settings);
        UPDATE generations SET params = '{}' WHERE NOT is_json(params);
        UPDATE generations SET dropped = NULL WHERE dropped IS NOT NULL AND NOT is_json(dropped);
        DELETE FROM generations WHERE message NOT IN (SELECT seq FROM messages);
    """)
