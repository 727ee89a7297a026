"""Conversations as rows of a batch, one a line: each asks its last question again.

The rows are those of OpenAI's Batch API; values that it does not have keep our names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localchat.store.records import Conversation, StoredMessage

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
)


def to_json(conversation: Conversation, path: Sequence[StoredMessage]) -> dict[str, Any] | None:
    """`path`: the messages from the root to a leaf. None if the user has said nothing in it.

    What the user said in several messages, without a word in between, becomes one: a reply that
    failed is no turn.
    """
    messages: list[dict[str, str]] = []
    for one in path:
        if one.role == "assistant" and not one.content:
            continue
        if messages and messages[-1]["role"] == one.role == "user":
            messages[-1]["content"] += f"\n\n{one.content}"
        else:
            messages.append({"role": one.role, "content": one.content})
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    if not messages:
        return None
    body = {"messages": messages, **_values(conversation.settings)}
    return {
        "custom_id": conversation.id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def _values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the conversation is made with; one that was imported may say anything, or nothing."""
    found: dict[str, Any] = {}
    if isinstance(model := settings.get("model"), str):
        found["model"] = model
    if isinstance(sampling := settings.get("sampling"), Mapping):
        found |= {
            name: sampling[name]
            for name in _SAMPLING
            if isinstance(sampling.get(name), int | float)
        }
    return found
