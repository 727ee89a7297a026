"""The text of a message that was made of parts: what is no text is named in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What it is called, by a word in the name of its type.
_NAMES = ("image", "audio", "video", "file")


def text_of(content: str | Sequence[Any]) -> str:
    """Of a text, or of a list of texts and other parts as OpenAI's programs write them."""
    if isinstance(content, str):
        return content
    return "\n\n".join(text for part in content if (text := _part(part)))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    if isinstance(text := part.get("text"), str):  # of speech, what was said
        return text
    kind = str(part.get("content_type") or part.get("type") or "")
    named = next((name for name in _NAMES if name in kind), "attachment")
    return f"[{named}]"
