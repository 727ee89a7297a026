"""A conversation for people to read: its current path, as Markdown."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from localchat.store.records import Conversation, StoredMessage

_VOICES = {"system": "Instructions", "user": "You", "assistant": "Assistant"}


def to_markdown(conversation: Conversation, path: Sequence[StoredMessage]) -> str:
    """`path`: the messages from the root to the current leaf."""
    return "\n\n".join(_blocks(conversation, path)) + "\n"


def _blocks(conversation: Conversation, path: Sequence[StoredMessage]) -> Iterator[str]:
    yield f"# {' '.join(conversation.title.split())}"
    yield f"*{day(conversation.created)}, localchat {conversation.id}*"
    for message in path:
        yield f"## {_heading(message)}"
        if message.reasoning.strip():
            thought = _closed(message.reasoning.strip())
            yield "\n".join(f"> {line}".rstrip() for line in thought.split("\n"))
        if message.content.strip():
            yield _closed(message.content.strip("\n"))
        if message.state != "complete":
            yield f"*({message.state})*"


def _heading(message: StoredMessage) -> str:
    voice = _VOICES[message.role]
    if not message.generations:
        return voice
    return f"{voice} ({message.generations[-1].provenance.model})"


def _closed(text: str) -> str:
    """`text` with the end of a fenced block that it leaves open: the rest is not code."""
    fence = ""
    for line in text.split("\n"):
        stripped = line.strip()
        if fence:
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                fence = ""
        elif line[:4].lstrip(" ").startswith(("```", "~~~")) or stripped[:3] in ("```", "~~~"):
            fence = stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]
    return f"{text}\n{fence}" if fence else text


def day(seconds: float) -> str:
    """The local day; a question mark for a time no calendar has."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"
