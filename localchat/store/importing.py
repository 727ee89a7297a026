"""Putting in conversations that were held elsewhere, whole."""

from __future__ import annotations

import os
import re

import apsw

from localchat.errors import InputError
from localchat.store.connection import one
from localchat.store.records import NewConversation, NewMessage
from localchat.store.title import title_of
from localchat.store.turns import as_json, new_generation, text

_BY_SOURCE = "SELECT 1 FROM conversations WHERE source = ?"
_BY_ID = "SELECT 1 FROM conversations WHERE id = ?"
_ID = re.compile("[0-9a-f]{16}")


def add(connection: apsw.Connection, new: NewConversation, now: float) -> str | None:
    """Puts in one; its id, or None if one from the same source is there. Raises InputError."""
    source = None if new.source is None else text(new.source)
    if source is not None and one(connection, _BY_SOURCE, (source,)):
        return None
    id_ = new.id
    if id_ is None or not _ID.fullmatch(id_) or one(connection, _BY_ID, (id_,)):
        id_ = os.urandom(8).hex()
    created = now if new.created is None else new.created
    first = next((message.content for message in new.messages if message.role == "user"), "")
    connection.execute(
        "INSERT INTO conversations VALUES(?, ?, ?, ?, ?, NULL, ?, ?)",
        (
            id_,
            title_of(first) if new.title is None else text(new.title),
            int(new.title_is_own),
            created,
            created if new.updated is None else new.updated,
            as_json(new.settings),
            source,
        ),
    )
    ids: list[int] = []
    for message in new.messages:
        ids.append(_add_message(connection, message, id_, ids, created))
    if ids:
        leaf = ids[-1] if new.leaf is None else _id(ids, new.leaf)
        connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, id_))
    return id_


def _add_message(
    connection: apsw.Connection,
    new: NewMessage,
    conversation: str,
    ids: list[int],
    created: float,
) -> int:
    """`ids` are those of the messages before it."""
    connection.execute(
        """INSERT INTO messages(conversation, parent, role, content, reasoning, created, state)
           VALUES(?, ?, ?, ?, ?, ?, ?)""",
        (
            conversation,
            None if new.parent is None else _id(ids, new.parent),
            new.role,
            text(new.content),
            text(new.reasoning),
            created if new.created is None else new.created,
            new.state,
        ),
    )
    id_ = connection.last_insert_rowid()
    for part, generation in enumerate(new.generations):
        if trim := generation.trim:
            dropped = tuple(_id(ids, number) for number in trim.dropped)
            generation = generation._replace(trim=trim._replace(dropped=dropped))
        new_generation(connection, id_, part, generation)
    return id_


def _id(ids: list[int], number: int) -> int:
    if not 0 <= number < len(ids):
        raise InputError("The messages don't make a conversation: one that is named is missing.")
    return ids[number]
