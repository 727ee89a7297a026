"""A row of a batch as a conversation, to look into its answer and to go on from it.

All of it is beside the output: what the row said, what was asked, and what came of it. The input
may be gone.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localchat.batch.beside import folder_of, manifest_of
from localchat.batch.journal import Entry, Journal
from localchat.batch.plan import Plan
from localchat.batch.record import Record
from localchat.batch.request import Requests, Row
from localchat.errors import ConversationNotFound, InputError, UsageError
from localchat.session.lasting import LASTING
from localchat.session.options import from_json, to_json
from localchat.store.records import Generation, NewConversation, NewMessage, Provenance
from localchat.store.store import Store
from localchat.types import ModelRef


def open_row(name: str, store: Store) -> str:
    """The id of the conversation that the row OUT:CUSTOM_ID is in the store; the same each time.

    Raises InputError for an output that is none, ConversationNotFound for a row that has not
    finished, UsageError for one that could not be asked, and what adding it to the store raises.
    """
    output, custom_id = _parts(name)
    new = _conversation(output, custom_id)
    assert new.source is not None
    if known := store.imported(new.source):
        return known.id
    (added,) = store.add([new])
    if added is None:  # by another process, just now
        known = store.imported(new.source)
        assert known is not None
        return known.id
    return added


def _parts(name: str) -> tuple[Path, str]:
    """OUT and CUSTOM_ID; either may have colons in it."""
    at = name.find(":")
    while at >= 0:
        output = Path(name[:at]).absolute()
        if name[:at] and folder_of(output).is_dir():
            return output, name[at + 1 :]
        at = name.find(":", at + 1)
    output_name = name.rpartition(":")[0]
    if not output_name:
        raise UsageError(
            f"{name!r} is no row of a batch: OUT:CUSTOM_ID, such as answers.jsonl:line-3."
        )
    raise InputError(f"There is no batch of {output_name}.", f"localchat batch IN -o {output_name}")


def _conversation(output: Path, custom_id: str) -> NewConversation:
    manifest = manifest_of(output)
    if manifest is None:
        raise InputError(f"There is no batch of {output}.", f"localchat batch IN -o {output}")
    with contextlib.closing(Journal(folder_of(output) / "rows.db")) as journal:
        entry = journal.find(custom_id)
    if entry is None:
        raise ConversationNotFound(
            f"The batch of {output} has no finished row {custom_id!r}.",
            f"localchat batch status {output}",
        )
    plan = _plan(manifest["parameters"])
    row = Requests(plan).row(entry.number, Record(entry.line, json.loads(entry.source)))
    if row.fault:
        raise UsageError(f"The row {custom_id!r} was never asked: {row.fault}")
    asked = tuple(
        NewMessage(message.role, message.content, number - 1 if number else None)
        for number, message in enumerate(row.messages)
    )
    replies = tuple(_replies(plan, row, entry))
    return NewConversation(
        (*asked, *replies),
        leaf=min(len(asked), len(asked) + len(replies) - 1),
        created=float(entry.outcome.created),
        updated=time.time(),
        settings=_settings(plan, row),
        source=f"batch:{output}:{entry.digest.hex()}:{entry.outcome.created}",
    )


def _replies(plan: Plan, row: Row, entry: Entry) -> Iterator[NewMessage]:
    """The answers as alternatives to each other; of a row that failed, why."""
    came = entry.outcome
    options = plan.options._replace(params=row.params)
    made = Provenance(plan.model.name, plan.model.sha256, params=to_json(options))
    parent = len(row.messages) - 1
    if came.error is not None:
        generation = Generation(made, error=came.error.message)
        yield NewMessage("assistant", "", parent, state="failed", generations=(generation,))
    for one in came.completions:
        # Of several answers only the sum is known.
        usage = came.usage if len(came.completions) == 1 else None
        generation = Generation(made, finish_reason=one.finish_reason, seed=one.seed, usage=usage)
        yield NewMessage(
            "assistant", one.text, parent, reasoning=one.reasoning, generations=(generation,)
        )


def _settings(plan: Plan, row: Row) -> dict[str, Any]:
    """What it goes on with: see `localchat.session.lasting`."""
    sampling = {name: getattr(row.params, name) for name in LASTING}
    return {"model": plan.model.name, "reasoning": plan.options.reasoning, "sampling": sampling}


def _plan(parameters: Mapping[str, Any]) -> Plan:
    """What was asked of each row, out of a manifest."""
    model = parameters["model"]
    return Plan(
        ModelRef(model["name"], path="", sha256=model["sha256"]),
        from_json(parameters)._replace(system=None),  # it stands among the messages
        parameters["format"],
        parameters["prompt"],
        parameters["system"],
        choices=tuple(parameters["choices"]),
    )
