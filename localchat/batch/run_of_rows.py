"""A whole run: from the input through the engine into the journal, and from there to the output."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from localchat.batch import output as outputs
from localchat.batch.beside import Beside, folder_of, looks
from localchat.batch.flight import End, Flight
from localchat.batch.intake import Intake, Known
from localchat.batch.journal import Entry, Finished, Journal, Place, entry_of
from localchat.batch.order import together
from localchat.batch.output import Output
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.batch.request import Requests, Row
from localchat.client.base import EngineClient
from localchat.errors import LocalchatError, UsageError
from localchat.presets.preset import perhaps

_GROUP = 0.05  # seconds in which finished rows gather for one commit
_MOST = 256  # rows of one commit
_WINDOW = 1024  # rows between the input and the journal, beyond those with the engine


@dataclass(frozen=True, slots=True)
class Manner:
    """How a batch is run; nothing of it decides an answer."""

    output: Path
    errors: Path | None = None
    """A file of their own for the rows that failed."""
    in_order: bool = True
    """Write the output at the end, in the input's order; else as rows are finished."""
    concurrency: int = 32
    """Rows with the engine at once."""
    limit: int | None = None
    """Take the first rows only."""
    chosen: frozenset[int] | None = None
    """Numbers of the rows to take, if not all are: a sample."""
    restart: bool = False
    """Forget what there is of this output."""
    retry_failed: bool = False
    """Ask rows again that have failed."""


@dataclass(slots=True)
class Tally:
    """What a run has come to so far."""

    finished: int = 0
    """Rows of this run, with an answer or an error."""
    failed: int = 0
    """Those of them with an error."""
    known: int = 0
    """Rows that were finished by a run before."""
    known_failed: int = 0
    cut: int = 0
    """Answers that end because the limit or the context is reached."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total: int | None = None
    """Rows of the input: estimated until it is read to its end."""
    is_exact: bool = False
    """Whether `total` is counted, not estimated."""
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        return self.finished + self.known

    def add(self, one: Finished | Known) -> None:
        if isinstance(one, Known):
            self.known += 1
            self.known_failed += one.failed
            return
        self.finished += 1
        self.failed += one.outcome.error is not None
        self.cut += any(each.finish_reason == "length" for each in one.outcome.completions)
        self.prompt_tokens += one.outcome.usage.prompt_tokens
        self.completion_tokens += one.outcome.usage.completion_tokens


class RunOfRows:
    """To be used in a `with` block: its end keeps what is finished, and writes the output.

    `tally` says how far it is, `is_complete` whether all rows are finished.
    """

    def __init__(
        self,
        plan: Plan,
        source: Input,
        manner: Manner,
        open_engine: Callable[[], EngineClient],
    ) -> None:
        """Takes the output's lock, and the input: closes it in the end.

        Raises UsageError for what makes no sense, and for an output that is not this run's.
        """
        requests = Requests(plan)
        check_columns(requests, source)
        path = Path(manner.output)
        self._output = Output(
            path,
            manner.errors,
            outputs.format_of(path, source),
            plan,
            source.columns,
            live=not manner.in_order,
        )
        self.tally = Tally()
        self.is_complete = False
        self.kept = 0
        """Finished rows of the output, when the run is over: of this run and those before."""
        self.input_has_changed = False
        """Since an earlier run: rows that are the same keep their answers."""
        self._source = source
        self._manner = manner
        self._plan = plan
        self._lookups: Journal | None = None
        self._own: Journal | None = None
        self._kept: SimpleQueue[list[Finished | Known] | End] = SimpleQueue()
        self._stop = End()
        self._keeper = threading.Thread(target=self._keep_all, daemon=True)
        with contextlib.ExitStack() as opening:
            opening.callback(source.close)
            if not folder_of(path).exists():
                self._output.refuse_foreign({})
            self._beside = Beside(path)
            opening.callback(self._beside.close)
            if manner.restart:
                self._forget()
            self._beside.begin(plan, source)
            self.input_has_changed = _has_changed(self._beside, source)
            self._journal = opening.enter_context(contextlib.closing(self._beside.journal()))
            self._output.refuse_foreign(self._journal.stamps())
            self._has_known = not self._journal.is_empty
            self._resources = opening.pop_all()
        # Only of an input that is another by now, rows can be gone.
        self._may_have_gone = self._has_known and (self.input_has_changed or source.size is None)
        self._intake = Intake(
            source,
            requests,
            self._see,
            self._place,
            sees_all=self._may_have_gone,
            retry_failed=manner.retry_failed,
            chosen=manner.chosen,
            limit=manner.limit,
        )
        self._flight = Flight(
            # Of a pipe, rows may come one by one: none waits for others.
            self._intake if source.size is None else together(self._intake),
            requests,
            open_engine,
            form=plan.form,
            choices=plan.choices,
            concurrency=manner.concurrency,
            window=manner.concurrency + _WINDOW,
            known_at_once=1 if source.size is None else _MOST,
        )

    def __enter__(self) -> RunOfRows:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what is with the engine. What is finished is kept, and the output written."""
        with self._resources:
            self._flight.stop()
            if self._keeper.ident is not None:
                self._flight.results.put(self._stop)
                self._keeper.join()
            if self._lookups is not None:
                self._resources.callback(self._lookups.close)
            self._finish()

    def groups(self) -> Iterator[list[Finished | Known]]:
        """Rows as they are finished, in groups: each is durable before it is given out.

        Raises what ends the run before its time.
        """
        self._output.begin(self._journal)
        self._keeper.start()
        self._flight.start()
        while not isinstance(group := self._kept.get(), End):
            self._flight.settle(group)
            yield group
        if group.error is not None:
            raise group.error
        self.is_complete = True

    def entry(self, one: Finished | Known) -> Entry:
        """All that is known of a row."""
        if isinstance(one, Finished):
            return entry_of(one)
        if self._own is None:
            self._own = self._resources.enter_context(contextlib.closing(self._beside.journal()))
        found = self._own.find(one.row.custom_id)
        assert found is not None, "rows are not forgotten"
        return found

    def _finish(self) -> None:
        whole = self.is_complete and self._intake.is_whole
        # What the input has no longer is left out; only a run that has seen all of it can tell.
        if whole and self._may_have_gone and self._lookups is not None:
            self._lookups.hide_unseen()
        self.kept = self._journal.counts()[0]
        self._output.finish(self._journal)
        if whole:
            manifest = self._beside.manifest or {}
            read = {"sha256": self._source.sha256, "rows": self._intake.read}
            known = {**manifest.get("input", {}), **looks(self._source), **read}
            self._beside.write({"parameters": self._plan.to_json(), "input": known})

    def _gather(self) -> tuple[list[Finished | Known], End | None]:
        """The results of the next moment."""
        results = self._flight.results
        group: list[Finished | Known] = []
        one = results.get()
        deadline = time.monotonic() + _GROUP
        while not isinstance(one, End):
            group += one
            left = deadline - time.monotonic()
            if left <= 0 or len(group) >= _MOST:
                return group, None
            try:
                one = results.get(timeout=left)
            except Empty:
                return group, None
        return group, one

    def _keep_all(self) -> None:
        """The work of a thread: Ctrl-C, which comes to the main one, breaks no commit."""
        try:
            end: End | None = None
            while end is not self._stop:
                group, end = self._gather()
                if group:
                    self._keep(group)
                    self._kept.put(group)
                if end is not None:
                    self._kept.put(end)
        except BaseException as error:
            self._kept.put(End(error))

    def _keep(self, group: list[Finished | Known]) -> None:
        """Makes results durable; only then do they count."""
        finished = [one for one in group if isinstance(one, Finished)]
        moved = [one.row for one in group if isinstance(one, Known) and one.is_moved]
        self._count()
        if finished or moved:
            is_part = self._manner.limit is not None or self._manner.chosen is not None
            self._journal.commit(finished, moved, None if is_part else self.tally.total)
        for one in group:
            self.tally.add(one)
        self._output.add(finished)

    def _count(self) -> None:
        """How many rows there are: while the input is read, by how far it is."""
        tally, read = self.tally, self._intake.read
        if self._intake.has_ended:
            tally.total, tally.is_exact = read, True
        elif self._manner.chosen is not None:
            tally.total, tally.is_exact = len(self._manner.chosen), True
        elif self._source.size and self._source.position:
            tally.total = max(read, round(read * self._source.size / self._source.position))
        if tally.total is not None and self._manner.limit is not None:
            tally.total = min(tally.total, self._manner.limit)

    def _see(self, custom_id: str) -> bool:
        return self._reading().see(custom_id)

    def _place(self, row: Row) -> Place | None:
        return self._reading().place(row.custom_id, row.number) if self._has_known else None

    def _reading(self) -> Journal:
        """A journal for the thread that reads the input."""
        if self._lookups is None:
            self._lookups = self._beside.journal()
        return self._lookups

    def _forget(self) -> None:
        """Removes the run and its output; raises UsageError for an output that isn't its own."""
        stamps: dict[str, str] = {}
        # A damaged journal can't tell what it has written; then there may be no output.
        with contextlib.suppress(LocalchatError), contextlib.closing(self._beside.journal()) as old:
            stamps = old.stamps()
        self._output.refuse_foreign(stamps)
        self._output.remove()
        self._beside.clear()


def check_columns(requests: Requests, source: Input) -> None:
    """Raises UsageError for a prompt that no row of a table could fill."""
    if source.columns is None:
        return
    for name in requests.columns:
        if name not in source.columns:
            known = ", ".join(source.columns[:20])
            raise UsageError(
                f"{source.name} has no column {name!r}{perhaps(name, source.columns)}. It has:"
                f" {known}.",
                'Name one of them: --prompt "… {column}"',
            )


def _has_changed(beside: Beside, source: Input) -> bool:
    """Whether the input is another than when the output was begun, by the looks of it."""
    known = (beside.manifest or {}).get("input", {})
    now = looks(source)
    return any(known.get(name) not in (None, now[name]) for name in ("size", "mtime_ns"))
