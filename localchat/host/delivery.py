"""When text goes out to clients, and in how many pieces.

Waking the listener and the client for every token of a fast model takes time from the compute
threads, and no eye sees the difference. Text that flows is looked for now and then instead, and
nobody watches the text of a batch grow.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from localchat.engine.reports import Report
from localchat.events import LAST_EVENTS, Event, ReasoningDelta, TextDelta

DELIVERY_INTERVAL = 0.04
"""Seconds between two looks for new text while it flows."""

BATCH_INTERVAL = 0.5
"""Seconds between two looks for what a batch has come to, but for its ends."""


def are_patient(reports: Iterable[Report], batch: Container[str]) -> bool:
    """Whether all of it is progress of requests in `batch`."""
    return all(
        report.request_id in batch and not isinstance(report, LAST_EVENTS) for report in reports
    )


def can_wait(reports: Iterable[Report], batch: Container[str]) -> bool:
    """Whether it can wait for the next look while text flows: text, or what `are_patient` says."""
    return are_patient(
        (report for report in reports if not isinstance(report, TextDelta | ReasoningDelta)), batch
    )


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
            text, tokens = before.text + event.text, before.tokens + event.tokens
            merged[position] = replace(before, text=text, tokens=tokens)
        else:
            last[event.request_id] = len(merged)
            merged.append(event)
    return merged
