"""Conversations as OpenAI's API takes them, one a line: {"messages": [{"role", "content"}, …]}.

Only the current path can be told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localchat.store.records import StoredMessage


def to_json(path: Sequence[StoredMessage]) -> dict[str, Any]:
    """`path`: the messages from the root to a leaf. A failed reply without a word is no message."""
    return {
        "messages": [
            {"role": message.role, "content": message.content}
            for message in path
            if message.content or message.state != "failed"
        ]
    }
