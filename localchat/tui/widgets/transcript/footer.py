"""The line beneath a reply: what a reader should know of how it came about."""

from __future__ import annotations

from collections.abc import Sequence

from localchat.sanitize import clean
from localchat.store.records import StoredMessage


def footer(message: StoredMessage, siblings: Sequence[int]) -> str:
    """One line, or nothing where there is nothing to say."""
    parts = []
    if len(siblings) > 1 and message.id in siblings:
        parts.append(f"{siblings.index(message.id) + 1}/{len(siblings)}")
    if message.role == "assistant" and (ending := _ending(message)):
        parts.append(ending)
    return "  ".join(parts)


def _ending(message: StoredMessage) -> str:
    last = message.generations[-1] if message.generations else None
    match message.state:
        case "failed":
            return f"failed: {_sentence(last.error if last else None)}"
        case "incomplete":
            if last is not None and last.error:
                return f"incomplete: {_sentence(last.error)}"
            stopped = last is not None and last.finish_reason == "cancelled"
            return "stopped" if stopped else "incomplete"
        case "complete" if last is not None and last.finish_reason == "length":
            limit = last.provenance.params.get("max_tokens")
            used = last.usage.completion_tokens if last.usage else None
            is_limit = limit is not None and (used is None or used >= limit)
            return f"cut off: {'max tokens' if is_limit else 'context full'}"
    return ""


def _sentence(error: str | None) -> str:
    return clean(" ".join(error.split())) if error else "no reason is known"
