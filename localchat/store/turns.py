"""Writing: turns of a conversation, each function within one transaction of its caller."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import apsw

from localchat.errors import ReplyInProgress, UsageError
from localchat.store import rows
from localchat.store.connection import every
from localchat.store.records import (
    Generation,
    Outcome,
    Provenance,
    StoredMessage,
    Turn,
)
from localchat.store.rows import IsAlive
from localchat.store.title import title_of
from localchat.types import Role

Parent = int | Literal["leaf", "root"]


def text(value: str) -> str:
    """`value` as it can be stored: half a surrogate pair is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value


def new_conversation(
    connection: apsw.Connection, first: str, settings: Mapping[str, Any] | None, now: float
) -> str:
    id_ = os.urandom(8).hex()
    connection.execute(
        """INSERT INTO conversations(id, title, title_is_own, created, updated, settings)
           VALUES(?, ?, 0, ?, ?, ?)""",
        (id_, title_of(text(first)), now, now, as_json(settings or {})),
    )
    return id_


def new_message(
    connection: apsw.Connection,
    conversation: str,
    parent: int | None,
    role: Role,
    content: str,
    now: float,
) -> int:
    connection.execute(
        """INSERT INTO messages(conversation, parent, role, content, reasoning, created, state)
           VALUES(?, ?, ?, ?, '', ?, 'complete')""",
        (conversation, parent, role, text(content), now),
    )
    return connection.last_insert_rowid()


def new_reply(
    connection: apsw.Connection,
    asked: tuple[str, int],
    provenance: Provenance,
    writer: str,
    now: float,
) -> int:
    """A reply to (conversation, message) that `writer` generates; it becomes the current leaf."""
    connection.execute(
        """INSERT INTO messages(
               conversation, parent, role, content, reasoning, created, state, writer
           ) VALUES(?, ?, 'assistant', '', '', ?, 'generating', ?)""",
        (*asked, now, writer),
    )
    reply = connection.last_insert_rowid()
    new_generation(connection, reply, 0, Generation(provenance))
    touch(connection, asked[0], now, leaf=reply)
    return reply


def regenerate(
    connection: apsw.Connection,
    message: int,
    provenance: Provenance,
    writer: str,
    is_alive: IsAlive,
    now: float,
) -> Turn:
    """Another reply to what the user said, or to what a reply answers. Raises UsageError."""
    found = rows.message(connection, message, is_alive)
    asked = found.parent if found.role == "assistant" else found.id
    if asked is None or found.role == "system":
        raise UsageError(f"Message {message} can't be replied to.")
    reply = new_reply(connection, (found.conversation, asked), provenance, writer, now)
    return Turn(found.conversation, asked, reply)


def place(connection: apsw.Connection, conversation: str, parent: Parent) -> int | None:
    """The id of the message that a turn goes below. Raises ConversationNotFound."""
    found = rows.conversation(connection, conversation)
    if parent == "leaf":
        return found.leaf
    if parent == "root":
        return None
    owner = connection.execute("SELECT conversation FROM messages WHERE seq = ?", (parent,)).get
    if owner != conversation:
        raise rows.no_such_message(parent)
    return parent


def checkpoint(
    connection: apsw.Connection, reply: int, writer: str, content: str, reasoning: str
) -> None:
    """Raises ConversationNotFound if `writer` doesn't generate it any more: it was deleted."""
    connection.execute(
        """UPDATE messages SET content = ?, reasoning = ?
           WHERE seq = ? AND state = 'generating' AND writer = ?""",
        (text(content), text(reasoning), reply, writer),
    )
    if not connection.changes():
        raise rows.no_such_message(reply)


def finish(
    connection: apsw.Connection,
    reply: int,
    writer: str,
    said: tuple[str, str],
    outcome: Outcome,
    now: float,
) -> None:
    """Writes the reply's (content, reasoning) for good. Raises ConversationNotFound."""
    content, reasoning = said
    connection.execute(
        """UPDATE messages SET content = ?, reasoning = ?, state = ?, writer = NULL
           WHERE seq = ? AND state = 'generating' AND writer = ?""",
        (text(content), text(reasoning), outcome.state, reply, writer),
    )
    if not connection.changes():
        raise rows.no_such_message(reply)
    values = _ended(outcome)
    connection.execute(
        f"""UPDATE generations SET {", ".join(f"{column} = :{column}" for column in values)}
            WHERE message = :message
            AND part = (SELECT max(part) FROM generations WHERE message = :message)""",  # noqa: S608
        values | {"message": reply},
    )
    owner = connection.execute("SELECT conversation FROM messages WHERE seq = ?", (reply,)).get
    touch(connection, owner, now)


def resume(
    connection: apsw.Connection,
    found: StoredMessage,
    provenance: Provenance,
    writer: str,
    now: float,
) -> None:
    """Makes a reply go on. Raises ReplyInProgress, UsageError."""
    if found.role != "assistant":
        raise UsageError(f"Message {found.id} is not a reply, so it can't be continued.")
    if found.state == "generating":
        raise ReplyInProgress(
            "This reply is being written by another localchat.", "Wait until it is complete."
        )
    if connection.execute("SELECT 1 FROM messages WHERE parent = ?", (found.id,)).get:
        raise UsageError(
            "The conversation went on after this reply, so it can't be continued.",
            "Ask for a new reply in its place, or continue from the last message.",
        )
    connection.execute(
        "UPDATE messages SET state = 'generating', writer = ? WHERE seq = ?", (writer, found.id)
    )
    part = len(found.generations)
    new_generation(
        connection,
        found.id,
        part,
        Generation(provenance, len(found.content), len(found.reasoning)),
    )
    touch(connection, found.conversation, now, leaf=found.id)


def settle(connection: apsw.Connection, is_alive: IsAlive) -> bool:
    """Marks what killed processes were writing as incomplete; whether there was any."""
    unfinished = every(connection, "SELECT seq, writer FROM messages WHERE state = 'generating'")
    dead = [seq for seq, writer in unfinished if not is_alive(writer)]
    for seq in dead:
        connection.execute(
            "UPDATE messages SET state = 'incomplete', writer = NULL WHERE seq = ?", (seq,)
        )
    return bool(dead)


def rename(connection: apsw.Connection, conversation: str, title: str | None) -> None:
    """Gives it a title of the user's, on one line, or the one from its first message."""
    own = " ".join(text(title or "").split())
    made = own or title_of(rows.first_words(connection, conversation))
    connection.execute(
        "UPDATE conversations SET title = ?, title_is_own = ? WHERE id = ?",
        (made, int(bool(own)), conversation),
    )


def set_settings(
    connection: apsw.Connection, conversation: str, settings: Mapping[str, Any]
) -> None:
    connection.execute(
        "UPDATE conversations SET settings = ? WHERE id = ?", (as_json(settings), conversation)
    )


def delete(connection: apsw.Connection, conversations: Sequence[str]) -> int:
    """How many of them there were."""
    deleted = 0
    for id_ in conversations:
        connection.execute("DELETE FROM conversations WHERE id = ?", (id_,))
        deleted += connection.changes()
    return deleted


def delete_before(connection: apsw.Connection, updated: float) -> int:
    """How many conversations were last updated before then."""
    connection.execute("DELETE FROM conversations WHERE updated < ?", (updated,))
    return connection.changes()


def touch(
    connection: apsw.Connection, conversation: str, now: float, leaf: int | None = None
) -> None:
    connection.execute(
        "UPDATE conversations SET updated = max(updated, ?), leaf = ifnull(?, leaf) WHERE id = ?",
        (now, leaf, conversation),
    )


def new_generation(
    connection: apsw.Connection, message: int, part: int, generation: Generation
) -> None:
    provenance = generation.provenance
    values = {
        "message": message,
        "part": part,
        "content_from": generation.content_from,
        "reasoning_from": generation.reasoning_from,
        "model": text(provenance.model),
        "model_sha256": provenance.model_sha256,
        "template_sha256": provenance.template_sha256,
        "engine_build": provenance.engine_build,
        "params": as_json(provenance.params),
        **_ended(generation),
    }
    connection.execute(
        f"""INSERT INTO generations({", ".join(values)})
            VALUES({", ".join(f":{column}" for column in values)})""",
        values,
    )


def _ended(outcome: Outcome | Generation) -> dict[str, Any]:
    """The columns of what is known at the end."""
    usage, timings, trim = outcome.usage, outcome.timings, outcome.trim
    values: dict[str, Any] = {
        "finish_reason": outcome.finish_reason,
        "seed": outcome.seed,
        "error": None if outcome.error is None else text(outcome.error),
    }
    if usage:
        values |= asdict(usage)
    if timings:
        values |= asdict(timings)
    if trim:
        summary = None if trim.summary is None else text(trim.summary)
        values |= {"dropped": as_json(trim.dropped), "summary": summary}
    return values


def as_json(value: object) -> str:
    plain = dict(value) if isinstance(value, Mapping) else value
    return text(json.dumps(plain, ensure_ascii=False, separators=(",", ":")))
