"""When text goes out to clients, and in how many pieces.

Waking the listener and the client for every token of a fast model takes time from the compute
threads, and no eye sees the difference. Text that flows is looked for now and then instead.
"""

from __future__ import annotations

from localchat.events import Event, TextDelta

DELIVERY_INTERVAL = 0.04
"""Seconds between two looks for new text while it flows."""


def is_text(events: list[Event]) -> bool:
    """Whether there is nothing but text, which can wait for the next look."""
    return all(isinstance(event, TextDelta) for event in events)


def merge_text(events: list[Event]) -> list[Event]:
    """The same events, with the text deltas of one request that follow each other joined.

    Other requests' events may lie between them: their order among each other means nothing.
    """
    merged: list[Event] = []
    open_delta: dict[str, int] = {}  # request id: where its last event stands, if that is text
    for event in events:
        if not isinstance(event, TextDelta):
            open_delta.pop(event.request_id, None)
            merged.append(event)
        elif (position := open_delta.get(event.request_id)) is not None:
            before = merged[position]
            assert isinstance(before, TextDelta)
            merged[position] = TextDelta(event.request_id, before.text + event.text)
        else:
            open_delta[event.request_id] = len(merged)
            merged.append(event)
    return merged
