"""Reading: rows of the tables, as records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import apsw

from localchat.errors import AmbiguousId, ConversationNotFound
from localchat.store.connection import every, one
from localchat.store.records import (
    Conversation,
    Generation,
    Listed,
    Provenance,
    StoredMessage,
    Trim,
)
from localchat.types import Timings, Usage

_CONVERSATIONS = """
    SELECT id, title, title_is_own, created, updated, leaf, settings, source FROM conversations
"""
_MESSAGES = """
    SELECT seq, conversation, parent, role, content, reasoning, created, state, writer
    FROM messages WHERE
"""
_GENERATIONS = """
    SELECT message, content_from, reasoning_from, model, model_sha256, template_sha256,
        engine_build, params, finish_reason, seed, prompt_tokens, cached_tokens, completion_tokens,
        queue, prefill, decode, dropped, summary, error
    FROM generations WHERE message IN
"""
_IDS = "SELECT seq FROM messages WHERE"
_SHORTEST = 4  # digits of a short id
_NAMED = 5  # candidates for an ambiguous id

IsAlive = Callable[[str | None], bool]


def conversation(connection: apsw.Connection, id_: str) -> Conversation:
    """Raises ConversationNotFound."""
    row = one(connection, _CONVERSATIONS + "WHERE id = ?", (id_,))
    if row is None:
        raise no_such_conversation(id_)
    return _conversation(row)


def latest(connection: apsw.Connection) -> Conversation | None:
    """The conversation that was updated last."""
    row = one(connection, _CONVERSATIONS + "ORDER BY updated DESC, id LIMIT 1")
    return _conversation(row) if row else None


def prompts(connection: apsw.Connection, limit: int) -> list[str]:
    """What users have said last, oldest first."""
    query = "SELECT content FROM messages WHERE role = 'user' ORDER BY seq DESC LIMIT ?"
    return [content for (content,) in every(connection, query, (limit,))][::-1]


def imported(connection: apsw.Connection, source: str) -> Conversation | None:
    """The conversation that comes from there."""
    row = one(connection, _CONVERSATIONS + "WHERE source = ?", (source,))
    return _conversation(row) if row else None


def newest(
    connection: apsw.Connection, limit: int, before: tuple[float, str] | None
) -> list[Listed]:
    """The conversations that were updated last, or last before the one with this time and id."""
    updated, id_ = before or (float("inf"), "")
    found = every(
        connection,
        _CONVERSATIONS
        + """WHERE updated <= ?1 AND (updated < ?1 OR id > ?2)
            ORDER BY updated DESC, id LIMIT ?3""",
        (updated, id_, limit),
    )
    return [
        Listed(each, short_id(connection, each.id), count_messages(connection, each.id))
        for each in map(_conversation, found)
    ]


def titled(connection: apsw.Connection) -> list[Conversation]:
    """The conversations that the user gave a title, newest first."""
    found = every(connection, _CONVERSATIONS + "WHERE title_is_own ORDER BY updated DESC")
    return [_conversation(row) for row in found]


def count_messages(connection: apsw.Connection, conversation_id: str) -> int:
    """Of all branches, without system prompts."""
    return int(
        connection.execute(
            "SELECT count(*) FROM messages WHERE conversation = ? AND role <> 'system'",
            (conversation_id,),
        ).get
    )


def counts(connection: apsw.Connection) -> tuple[Any, ...]:
    """Conversations, messages, completion tokens, oldest, newest; see `Stats`."""
    found = one(
        connection,
        """SELECT (SELECT count(*) FROM conversations),
                  (SELECT count(*) FROM messages WHERE role <> 'system'),
                  (SELECT ifnull(sum(completion_tokens), 0) FROM generations),
                  (SELECT min(created) FROM conversations),
                  (SELECT max(updated) FROM conversations)""",
    )
    assert found is not None
    return found


def first_words(connection: apsw.Connection, conversation_id: str) -> str:
    """What the user said first."""
    found: str | None = connection.execute(
        """SELECT content FROM messages WHERE conversation = ? AND role = 'user'
           ORDER BY seq LIMIT 1""",
        (conversation_id,),
    ).get
    return found or ""


def find(connection: apsw.Connection, prefix: str) -> Conversation:
    """The one conversation whose id begins so. Raises ConversationNotFound, AmbiguousId."""
    digits = prefix.strip().lower()
    if not digits or digits.strip("0123456789abcdef"):
        raise no_such_conversation(prefix)
    candidates = every(
        connection,
        _CONVERSATIONS + """WHERE id BETWEEN ?1 AND ?1 || 'g' ORDER BY updated DESC LIMIT ?2""",
        (digits, _NAMED + 1),
    )
    found = [_conversation(row) for row in candidates]
    if not found:
        raise no_such_conversation(prefix)
    if len(found) > 1:
        names = [f"{short_id(connection, each.id)} ({each.title})" for each in found[:_NAMED]]
        more = ", …" if len(found) > _NAMED else ""
        raise AmbiguousId(
            f"Several conversations have an id that begins with {digits}: "
            f"{', '.join(names)}{more}.",
            "Give one more digit, or as many as it takes.",
        )
    return found[0]


def short_id(connection: apsw.Connection, id_: str) -> str:
    """The beginning of `id_` that no other conversation's id has."""
    neighbours = one(
        connection,
        """SELECT (SELECT max(id) FROM conversations WHERE id < ?1),
                  (SELECT min(id) FROM conversations WHERE id > ?1)""",
        (id_,),
    )
    common = max(_common(id_, other) for other in neighbours or ())
    return id_[: max(_SHORTEST, common + 1)]


def _common(id_: str, other: str | None) -> int:
    """How many digits both begin with."""
    pairs = zip(id_, other or "", strict=False)
    return next((place for place, (own, its) in enumerate(pairs) if own != its), 0)


def message(connection: apsw.Connection, id_: int, is_alive: IsAlive) -> StoredMessage:
    """Raises ConversationNotFound."""
    found = _messages(connection, "seq = ?", (id_,), is_alive)
    if not found:
        raise no_such_message(id_)
    return found[0]


def path(connection: apsw.Connection, leaf: int | None, is_alive: IsAlive) -> list[StoredMessage]:
    """The messages from a root to `leaf`."""
    above = """seq IN (
        WITH RECURSIVE above(seq) AS (
            VALUES(?) UNION ALL
            SELECT parent FROM above JOIN messages USING (seq) WHERE parent IS NOT NULL
        ) SELECT seq FROM above)"""
    return _messages(connection, above, (leaf,), is_alive)


def tree(
    connection: apsw.Connection, conversation_id: str, is_alive: IsAlive
) -> list[StoredMessage]:
    """All messages, oldest first."""
    return _messages(connection, "conversation = ?", (conversation_id,), is_alive)


def siblings(connection: apsw.Connection, id_: int, is_alive: IsAlive) -> list[StoredMessage]:
    """The messages with the same parent, itself among them, oldest first."""
    found = message(connection, id_, is_alive)
    if found.parent is not None:
        return _messages(connection, "parent = ?", (found.parent,), is_alive)
    roots = "conversation = ? AND +parent IS NULL"
    return _messages(connection, roots, (found.conversation,), is_alive)


def _messages(
    connection: apsw.Connection, where: str, values: tuple[Any, ...], is_alive: IsAlive
) -> list[StoredMessage]:
    """In the order of their ids, in which parents come first."""
    found = every(connection, f"{_MESSAGES} {where} ORDER BY seq", values)
    generated: dict[int, list[Generation]] = {}
    for row in every(
        connection,
        f"{_GENERATIONS} ({_IDS} {where}) ORDER BY message, part",
        values,
    ):
        generated.setdefault(row[0], []).append(_generation(row))
    messages = []
    for id_, conversation_id, parent, role, content, reasoning, created, state, writer in found:
        if state == "generating" and not is_alive(writer):
            state = "incomplete"
        generations = tuple(generated.get(id_, ()))
        messages.append(
            StoredMessage(
                id_, conversation_id, parent, role, content, reasoning, created, state, generations
            )
        )
    return messages


def _conversation(row: Iterable[Any]) -> Conversation:
    id_, title, title_is_own, created, updated, leaf, settings, source = row
    return Conversation(
        id_, title, bool(title_is_own), created, updated, leaf, json.loads(settings), source
    )


def _generation(row: Iterable[Any]) -> Generation:
    (
        _,
        content_from,
        reasoning_from,
        model,
        model_sha256,
        template_sha256,
        engine_build,
        params,
        finish_reason,
        seed,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        queue,
        prefill,
        decode,
        dropped,
        summary,
        error,
    ) = row
    return Generation(
        Provenance(model, model_sha256, template_sha256, engine_build, json.loads(params)),
        content_from,
        reasoning_from,
        finish_reason,
        seed,
        None if prompt_tokens is None else Usage(prompt_tokens, cached_tokens, completion_tokens),
        None if queue is None else Timings(queue, prefill, decode),
        None if dropped is None else Trim(tuple(json.loads(dropped)), summary),
        error,
    )


def no_such_conversation(id_: str) -> ConversationNotFound:
    return ConversationNotFound(
        f"There is no conversation {id_}.", "See what there is: localchat history list"
    )


def no_such_message(id_: int) -> ConversationNotFound:
    return ConversationNotFound(
        f"There is no message {id_}, or it was deleted.",
        "See what there is: localchat history list",
    )
