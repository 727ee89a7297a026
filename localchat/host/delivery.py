"""When text goes out to clients, and in how many pieces.

Waking the listener and the client for every token of a fast model takes time from the compute
threads, and no eye sees the difference. Text that flows is looked for now and then instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localchat.events import Event, ReasoningDelta, TextDelta

DELIVERY_INTERVAL = 0.04
"""Seconds between two looks for new text while it flows."""


def is_text(events: Sequence[object]) -> bool:
    """Whether there is nothing but text, which can wait for the next look."""
    return all(isinstance(event, TextDelta | ReasoningDelta) for event in events)


def merge_text(events: list[Event]) -> list[Event]:
    """The same events, with the text deltas of one request that follow each other joined.

    Other requests' events may lie between them: their order among each other means nothing.
    """
    merged: list[Event] = []
    last: dict[str, int] = {}  # request id: where its last event stands
    for event in events:
        position = last.get(event.request_id)
        before = merged[position] if position is not None else None
        if (
            position is not None
            and isinstance(event, TextDelta | ReasoningDelta)
            and isinstance(before, type(event))
            and before.choice == event.choice
        ):
            merged[position] = replace(before, text=before.text + event.text)
        else:
            last[event.request_id] = len(merged)
            merged.append(event)
    return merged
