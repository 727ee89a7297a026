"""What tests of batches share: engines whose answers are chosen, and a run with few words."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from localchat import __version__, answer_form, config, paths
from localchat.batch import asked
from localchat.batch.intake import Known
from localchat.batch.journal import Entry, Finished
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Source
from localchat.batch.run_of_rows import Manner, RunOfRows
from localchat.client.base import EngineClient
from localchat.errors import EngineDied
from localchat.events import Event, TextDelta
from localchat.events import Finished as EngineFinished
from localchat.types import EngineInfo, GenerationRequest, ModelRef, Timings, Usage

Answer = Callable[[GenerationRequest], list[Event]]
MODEL = ModelRef("scripted", "/nowhere/scripted.gguf", "0" * 64)


def said(request: GenerationRequest) -> str:
    """What a request ends with."""
    return request.messages[-1].content


def text(request: GenerationRequest, *pieces: str, reason: Any = "stop") -> list[Event]:
    """The events of an answer."""
    deltas: list[Event] = [TextDelta(request.id, piece) for piece in pieces]
    usage = Usage(len(said(request).split()), 0, len(pieces))
    return [*deltas, EngineFinished(request.id, reason, usage, Timings(0, 0, 0), 7)]


def echo(request: GenerationRequest) -> list[Event]:
    return text(request, f"<{said(request)}>")


class Engine:
    """Answers every request by a function, and can be shared by threads as a real client is.

    What is said among `deadly` kills it; with `holds`, answers wait for `release`.
    """

    def __init__(self, answer: Answer = echo, deadly: tuple[str, ...] = ()) -> None:
        self.info = EngineInfo(__version__, os.getpid(), "scripted", 8192, True, 0.0)
        self.requests: list[GenerationRequest] = []
        self.is_closed = self.is_gone = False
        self.holds = False
        self.most = 0
        """Requests that were with it at once, at most."""
        self._answer = answer
        self._deadly = deadly
        self._due: SimpleQueue[GenerationRequest | None] = SimpleQueue()
        self._open: dict[str, GenerationRequest] = {}
        self._released = threading.Event()
        self._cancelled: set[str] = set()

    def submit(self, request: GenerationRequest) -> None:
        self.requests.append(request)
        self._open[request.id] = request
        self.most = max(self.most, len(self._open))
        self._due.put(request)

    def cancel(self, request_id: str) -> None:
        self._cancelled.add(request_id)
        self.release()

    def release(self) -> None:
        self._released.set()

    def events(self) -> Iterator[Event]:
        while self._open:
            request = self._due.get()
            assert request is not None
            if self.holds:
                self._released.wait()
            if said(request) in self._deadly:
                raise EngineDied("The engine ended without a word.", "Run the command again.")
            if request.id in self._cancelled:
                answered = text(request, reason="cancelled")
            else:
                answered = self._answer(request)
            *events, last = answered
            yield from events
            del self._open[request.id]
            yield last

    def close(self) -> None:
        self.is_closed = True


class Engines:
    """Opens one engine after the other."""

    def __init__(self, *engines: Engine) -> None:
        self._engines = list(engines)
        self.opened = 0

    def __call__(self) -> EngineClient:
        self.opened += 1
        return self._engines[min(self.opened, len(self._engines)) - 1]


def plan_of(source: Source, **given: Any) -> Plan:
    places = paths.find()
    flags = {name: given.pop(name) for name in list(given) if name not in _OWN}
    schema = given.get("schema")
    return asked.plan(
        source,
        flags,
        {},
        config.load(places),
        places,
        lambda name: MODEL,
        prompt=given.get("prompt"),
        form=None if schema is None else answer_form.form(schema),
        choices=tuple(given.get("choices", ())),
        reasoning_budget=None,
    )


_OWN = {"prompt", "schema", "choices"}
_MANNERS = {
    "errors",
    "in_order",
    "concurrency",
    "limit",
    "chosen",
    "restart",
    "retry_failed",
}


def begin(path: Path, output: Path, engine: Any, **given: Any) -> RunOfRows:
    """A run of the input at `path`; `given` are values of the plan and of the manner."""
    manner = {name: given.pop(name) for name in list(given) if name in _MANNERS}
    source = Source(str(path), given.pop("format", None))
    try:
        plan = plan_of(source, **given)
        opener = engine if isinstance(engine, Engines) else Engines(engine)
        return RunOfRows(plan, source, Manner(output, **manner), opener)
    except BaseException:
        source.close()
        raise


def answered(run: RunOfRows) -> list[Finished | Known]:
    """All of a run."""
    with run:
        return [one for group in run.groups() for one in group]


def batch(path: Path, output: Path, engine: Any = None, **given: Any) -> RunOfRows:
    """A run that has come to its end."""
    run = begin(path, output, engine or Engine(), **given)
    answered(run)
    return run


def entries(output: Path) -> list[Entry]:
    """What the journal of an output holds, in the input's order."""
    from localchat.batch.beside import folder_of
    from localchat.batch.journal import Journal

    with contextlib.closing(Journal(folder_of(output) / "rows.db")) as journal:
        return list(journal.entries())


def rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[Any]:
    """Of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
