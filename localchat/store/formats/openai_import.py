"""Reads conversations as OpenAI's API takes them, without what is said to tools and by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from localchat.store.formats.parts import text_of
from localchat.store.records import NewConversation, NewMessage
from localchat.types import Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class _Message(BaseModel):
    role: str
    content: str | list[Any] | None = None


class _Conversation(BaseModel):
    messages: list[_Message]


def from_json(value: Any) -> NewConversation:
    """A conversation without branches. Raises ValueError (pydantic's too)."""
    found = _Conversation.model_validate(value)
    said = [*_said(found.messages)]
    if not said:
        raise ValueError("has no message of a user or an assistant")
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    messages = tuple(
        NewMessage(role, content, place - 1 if place else None)
        for place, (role, content) in enumerate(said)
    )
    return NewConversation(messages, source=f"openai:{digest}")


def _said(messages: Sequence[_Message]) -> Iterator[tuple[Role, str]]:
    for message in messages:
        role = _ROLES.get(message.role)
        if role is None and message.role not in ("tool", "function"):
            raise ValueError(f"has a message of an unknown role: {message.role[:40]}")
        if role is not None and message.content is not None:
            yield role, text_of(message.content)
