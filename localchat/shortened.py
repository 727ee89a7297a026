"""A conversation without its oldest messages, as a model is shown it."""

from __future__ import annotations

from dataclasses import replace

from localchat.types import Message

Messages = tuple[Message, ...]

INTRODUCTION = "Summary of the earlier part of this conversation:"
"""The line before a summary."""


def without(messages: Messages, dropped: tuple[int, ...]) -> Messages:
    """The messages but for those at these places."""
    gone = set(dropped)
    return tuple(message for index, message in enumerate(messages) if index not in gone)


def with_summary(messages: Messages, dropped: tuple[int, ...], summary: str) -> Messages:
    """The conversation with a summary in place of the dropped messages.

    It ends the first system message, or is one, at the start, where there is none: the one place
    that no template's order of roles forbids.
    """
    kept = [*without(messages, dropped)]
    text = f"{INTRODUCTION}\n\n{summary}"
    for index, message in enumerate(kept):
        if message.role == "system":
            kept[index] = replace(message, content=f"{message.content}\n\n{text}")
            return tuple(kept)
    return (Message("system", text), *kept)
