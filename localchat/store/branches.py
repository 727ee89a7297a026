"""Branches of a conversation: which of them is current, and what becomes of the rest.

Each function is within one transaction of its caller.
"""

from __future__ import annotations

import itertools

import apsw

from localchat.errors import ReplyInProgress
from localchat.store import rows, turns
from localchat.store.connection import every
from localchat.store.rows import IsAlive

_BELOW = """
    WITH RECURSIVE below(seq) AS (
        VALUES(?) UNION ALL
        SELECT messages.seq FROM below JOIN messages ON parent = below.seq
    ) SELECT seq FROM below
"""
_WRITTEN = "SELECT seq, writer FROM messages WHERE conversation = ? AND state = 'generating'"
# Roots are looked for within their conversation: those of all others have no parent either.
_ALTERNATIVES = """
    WITH RECURSIVE above(seq, parent) AS (
        SELECT seq, parent FROM messages
            WHERE seq = (SELECT leaf FROM conversations WHERE id = ?1)
        UNION ALL
        SELECT messages.seq, messages.parent FROM above JOIN messages ON messages.seq = above.parent
    )
    SELECT above.seq, messages.seq FROM above JOIN messages USING (parent)
    UNION ALL
    SELECT above.seq, messages.seq FROM above JOIN messages
        ON conversation = ?1 AND +messages.parent IS NULL WHERE above.parent IS NULL
    ORDER BY 1, 2
"""


def alternatives(connection: apsw.Connection, conversation: str) -> dict[int, tuple[int, ...]]:
    """Of each message of the current path that has siblings, the ids of all, oldest first."""
    rows.conversation(connection, conversation)
    pairs = every(connection, _ALTERNATIVES, (conversation,))
    groups = itertools.groupby(pairs, key=lambda pair: int(pair[0]))
    found = {message: tuple(int(sibling) for _, sibling in group) for message, group in groups}
    return {message: siblings for message, siblings in found.items() if len(siblings) > 1}


def choose(connection: apsw.Connection, message: int, is_alive: IsAlive) -> int:
    """Makes the branch through a message the current one; its newest message, always a leaf.

    Raises ConversationNotFound.
    """
    found = rows.message(connection, message, is_alive)
    leaf = max(_below(connection, message))
    _set_leaf(connection, found.conversation, leaf)
    return leaf


def go_back(
    connection: apsw.Connection, conversation: str, message: int | None, is_alive: IsAlive
) -> None:
    """Ends the current path with `message`, or before the first one that is no system prompt.

    Raises ConversationNotFound.
    """
    end = turns.place(connection, conversation, "leaf" if message is None else message)
    if message is None:
        first = rows.path(connection, end, is_alive)[:1]
        end = next((one.id for one in first if one.role == "system"), None)
    _set_leaf(connection, conversation, end)


def delete(connection: apsw.Connection, message: int, is_alive: IsAlive) -> int:
    """Deletes a message and all that comes after it; how many these were.

    If the current path goes through it, that becomes the one through its newest sibling, or ends
    above it. Raises ConversationNotFound, ReplyInProgress.
    """
    found = rows.message(connection, message, is_alive)
    conversation = rows.conversation(connection, found.conversation)
    doomed = {*_below(connection, message)}
    written = every(connection, _WRITTEN, (conversation.id,))
    if any(seq in doomed and is_alive(writer) for seq, writer in written):
        raise ReplyInProgress(
            "A reply is being written there.", "Stop it, or wait until it is complete."
        )
    if conversation.leaf in doomed:
        beside = {one.id for one in rows.siblings(connection, message, is_alive)} - {message}
        leaf = max(_below(connection, max(beside))) if beside else found.parent
        _set_leaf(connection, conversation.id, leaf)
    connection.executemany("DELETE FROM messages WHERE seq = ?", ((seq,) for seq in doomed))
    if not conversation.title_is_own:  # its words may be those that go
        turns.rename(connection, conversation.id, None)
    return len(doomed)


def _set_leaf(connection: apsw.Connection, conversation: str, leaf: int | None) -> None:
    connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, conversation))


def _below(connection: apsw.Connection, id_: int) -> list[int]:
    """A message, and all that come after it."""
    return [int(seq) for (seq,) in every(connection, _BELOW, (id_,))]
