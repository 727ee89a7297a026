"""The schema, as numbered steps from an empty file. A step that was released never changes.

All that are missing run in one transaction. No copy is made of the file first: what fails is
undone, and a copy would keep what the user deletes later.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw

from localchat.store.connection import every, transaction

Migration = Callable[[apsw.Connection], None]
MIGRATIONS: list[Migration] = []


def migration(step: Migration) -> Migration:
    """Appends a step. Its name begins with its number."""
    MIGRATIONS.append(step)
    assert step.__name__.startswith(f"m{len(MIGRATIONS):03}_")
    return step


def version(connection: apsw.Connection) -> int:
    """How many steps the file has taken."""
    return int(connection.pragma("user_version"))


def migrate(connection: apsw.Connection) -> None:
    """Takes the steps that are missing, all or none. Raises apsw.Error."""
    with transaction(connection):
        for step in MIGRATIONS[version(connection) :]:  # another process may have been first
            step(connection)
        if every(connection, "PRAGMA foreign_key_check"):
            raise apsw.ConstraintError("a migration left references to nothing")
        connection.pragma("user_version", len(MIGRATIONS))


@migration
def m001_conversations(connection: apsw.Connection) -> None:
    """Ids of messages are never given again (AUTOINCREMENT): a process that still writes a reply
    whose conversation was deleted must not write into another one. Messages go with their
    conversation, not with their parent: SQLite follows such references 1,000 levels deep only.
    """
    connection.execute("""
        CREATE TABLE conversations(
            id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL,
            title_is_own INTEGER NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            leaf INTEGER REFERENCES messages ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
            settings TEXT NOT NULL,
            source TEXT UNIQUE
        ) STRICT;
        CREATE INDEX conversations_updated ON conversations(updated);
        CREATE INDEX conversations_leaf ON conversations(leaf);

        CREATE TABLE messages(
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
            parent INTEGER REFERENCES messages DEFERRABLE INITIALLY DEFERRED,
            role TEXT NOT NULL CHECK(role IN ('system', 'user', 'assistant')),
            content TEXT NOT NULL,
            reasoning TEXT NOT NULL,
            created REAL NOT NULL,
            state TEXT NOT NULL
                CHECK(state IN ('complete', 'generating', 'incomplete', 'failed')),
            writer TEXT
        ) STRICT;
        CREATE INDEX messages_conversation ON messages(conversation, role);
        CREATE INDEX messages_parent ON messages(parent);
        CREATE INDEX messages_generating ON messages(state) WHERE state = 'generating';

        CREATE TABLE generations(
            message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
            part INTEGER NOT NULL,
            content_from INTEGER NOT NULL,
            reasoning_from INTEGER NOT NULL,
            model TEXT NOT NULL,
            model_sha256 TEXT,
            template_sha256 TEXT,
            engine_build TEXT,
            params TEXT NOT NULL,
            finish_reason TEXT,
            seed INTEGER,
            prompt_tokens INTEGER,
            cached_tokens INTEGER,
            completion_tokens INTEGER,
            queue REAL,
            prefill REAL,
            decode REAL,
            dropped TEXT,
            summary TEXT,
            error TEXT,
            PRIMARY KEY(message, part)
        ) STRICT;
    """)


@migration
def m002_search(connection: apsw.Connection) -> None:
    """What can be searched: what users and models said, once it is said.

    System prompts are the same in many conversations, and a reply that is being generated would
    have its words taken out and put back at each checkpoint.
    """
    connection.execute("""
        CREATE VIEW said AS
            SELECT seq, content FROM messages WHERE role <> 'system' AND state <> 'generating';
        CREATE VIRTUAL TABLE words USING fts5(
            content, content='said', content_rowid='seq',
            tokenize='unicode61 remove_diacritics 2'
        );
        INSERT INTO words(words, rank) VALUES('secure-delete', 1);

        CREATE TRIGGER said_insert AFTER INSERT ON messages
            WHEN new.role <> 'system' AND new.state <> 'generating' BEGIN
            INSERT INTO words(rowid, content) VALUES(new.seq, new.content);
        END;
        CREATE TRIGGER said_delete AFTER DELETE ON messages
            WHEN old.role <> 'system' AND old.state <> 'generating' BEGIN
            INSERT INTO words(words, rowid, content) VALUES('delete', old.seq, old.content);
        END;
        CREATE TRIGGER said_withdraw AFTER UPDATE OF content, state ON messages
            WHEN old.role <> 'system' AND old.state <> 'generating' BEGIN
            INSERT INTO words(words, rowid, content) VALUES('delete', old.seq, old.content);
        END;
        CREATE TRIGGER said_again AFTER UPDATE OF content, state ON messages
            WHEN new.role <> 'system' AND new.state <> 'generating' BEGIN
            INSERT INTO words(rowid, content) VALUES(new.seq, new.content);
        END;
        INSERT INTO words(words) VALUES('rebuild');
    """)
