"""What a batch would be: its first prompts as the model would see them, and how much it all is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from statistics import mean

from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.batch.request import Requests, Row
from localchat.client.base import EngineClient
from localchat.events import Failed, Rendered
from localchat.speeds import Speed

ANSWER = 100
"""Tokens that an answer is taken to have where there is no limit."""

_LOOKED_AT = 20  # rows whose tokens are counted; the others are taken to be like them


@dataclass(frozen=True, slots=True)
class Rehearsal:
    prompts: list[tuple[Row, Rendered]]
    """Of the first rows."""
    faults: list[tuple[Row, str]]
    """First rows that can't be asked, and why."""
    rows: int | None
    """Of the input, or as many as are taken; None if nobody can tell."""
    is_exact: bool
    """Whether `rows` is counted, not estimated."""
    prompt_tokens: float
    """Of a row, on average."""
    completion_tokens: int
    """Of a row, at most; or a guess."""

    def seconds(self, speed: Speed) -> float | None:
        """At most: rows that begin alike, and those that are decoded together, take less."""
        if self.rows is None or not speed.prefill:
            return None
        row = self.prompt_tokens / speed.prefill + self.completion_tokens / speed.decode
        return self.rows * row


def rehearse(
    source: Input, plan: Plan, requests: Requests, client: EngineClient, limit: int | None
) -> Rehearsal:
    """Reads the first rows and has their prompts rendered; nothing is generated.

    Raises UsageError, EngineDied. `limit`: rows that would be taken at most.
    """
    records = iter(source)
    looked_at = min(_LOOKED_AT, limit) if limit else _LOOKED_AT
    rows = [
        requests.row(number, record) for number, record in enumerate(islice(records, looked_at), 1)
    ]
    faults = [(row, row.fault) for row in rows if row.fault]
    prompts: list[tuple[Row, Rendered]] = []
    for row, answer in _render([row for row in rows if not row.fault], requests, client):
        if isinstance(answer, Rendered):
            prompts.append((row, answer))
        else:
            faults.append((row, answer.message))
    ended = len(rows) < looked_at or next(records, None) is None
    total: int | None = len(rows)
    if not ended:
        total = limit
        if source.size and source.position:
            estimate = round((len(rows) + 1) * source.size / source.position)
            total = min(limit, estimate) if limit else estimate
    params = plan.options.params
    return Rehearsal(
        prompts,
        faults,
        total,
        ended,
        mean(rendered.prompt_tokens for _, rendered in prompts) if prompts else 0.0,
        0 if plan.choices else (params.max_tokens or ANSWER) * params.n,
    )


def _render(
    rows: Iterable[Row], requests: Requests, client: EngineClient
) -> list[tuple[Row, Rendered | Failed]]:
    """All of them, in their order."""
    asked = {f"rehearsal-{row.number}": row for row in rows}
    for id_, row in asked.items():
        request = requests.request(row, id_)
        client.submit(replace(request, render_only=True, continuations=()))
    found: dict[str, Rendered | Failed] = {}
    for event in client.events():
        assert isinstance(event, Rendered | Failed), "nothing is generated"
        found[event.request_id] = event
    return [(row, found[id_]) for id_, row in asked.items()]
