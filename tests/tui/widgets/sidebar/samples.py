"""Conversations and hits for the tests of the sidebar."""

from __future__ import annotations

import time
from collections.abc import Sequence

from localchat.store.records import Conversation, Hit
from localchat.types import Role

DAY = 86_400.0


def conversation(number: int, title: str = "", *, days: float = 0.0) -> Conversation:
    """Updated so many days ago."""
    updated = time.time() - days * DAY
    return Conversation(
        f"{number:016x}", title or f"Title {number}", False, updated, updated, None, {}
    )


def conversations(count: int, *, a_day: int = 10) -> list[Conversation]:
    return [conversation(number, days=number // a_day) for number in range(count)]


def hit(
    number: int, snippet: str, marks: Sequence[tuple[int, int]] = (), message: int | None = 1
) -> Hit:
    found = conversation(number)
    role: Role | None = None if message is None else "user"
    return Hit(found, found.id[:4], message, role, found.created, snippet, tuple(marks))
