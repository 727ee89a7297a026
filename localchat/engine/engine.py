"""The engine: requests in, events out, one step at a time.

It knows no process, socket or thread. `submit` and `resume` may be called from the main thread
while another one calls `step`; `cancel` from anywhere.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from itertools import zip_longest
from typing import Protocol

from localchat.engine.completion import Completion, Pieces
from localchat.engine.group import Group
from localchat.engine.intake import Intake, TooLong
from localchat.engine.kv_cache import WORTH_SAVING
from localchat.engine.reports import Report, Summarised
from localchat.engine.scheduled import Aborted, Chunk, Output, ScheduledBatch, State
from localchat.engine.scheduler import Scheduler
from localchat.engine.sequence import Sequence
from localchat.errors import LocalchatError
from localchat.events import Event, Failed, Finished, PrefillProgress, Rendered, Trimmed
from localchat.types import FinishReason, GenerationRequest, Timings, Usage

# Rows of a batch from which a step is stopped for an interactive request: shorter ones are soon
# over.
_LONG_STEP = 24


class Runner(Protocol):
    """What the engine needs of `localchat.engine.runner.ModelRunner`; tests have a fake one."""

    def run(self, scheduled: ScheduledBatch) -> list[Output]: ...
    def keep(self, slot: int, count: int) -> int: ...
    def save(self, slot: int) -> State: ...
    def abort(self) -> None: ...
    def clear_abort(self) -> None: ...
    def constrain(self, sequence: Sequence, grammar: str) -> None: ...
    def release(self, sequence: Sequence) -> None: ...


class Snapshots(Protocol):
    """Keeps states on disk; `localchat.engine.snapshot_writer.BackgroundWriter`."""

    def submit(
        self, tokens: list[int], state: State, *, conversation: str | None = None
    ) -> None: ...
    def drain(self, timeout_seconds: float) -> bool: ...


class Checkpoints(Protocol):
    """Keeps states in memory; `localchat.engine.saved.SavedStates`."""

    def checkpoint(self, tokens: list[int], state: State) -> None: ...


class Engine:
    """Schedules requests on a runner and reports their events.

    `context` is the number of tokens one request may fill.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        intake: Intake,
        vocabulary: Pieces,
        *,
        context: int,
        checkpoints: Checkpoints | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        self.context = context
        self._scheduler = scheduler
        self._runner = runner
        self._intake = intake
        self._vocabulary = vocabulary
        self._checkpoints = checkpoints
        self._snapshots = snapshots
        # Held where a request changes hands: one that is cancelled is found on either side.
        self._handover = threading.Lock()
        self._inbox: deque[Group] = deque()
        self._outbox: deque[Event] = deque()  # events that no step brings about
        self._cancelled: set[str] = set()
        self._groups: dict[str, Group] = {}
        self._completions: dict[Sequence, Completion] = {}
        self._summaries: dict[str, TooLong] = {}  # by the id of the request for a summary
        self._in_flight: tuple[Chunk, ...] = ()

    @property
    def has_work(self) -> bool:
        return bool(self._inbox or self._outbox or self._cancelled or self._scheduler.has_work)

    @property
    def num_requests(self) -> int:
        return len(self._groups) + len(self._inbox)

    def submit(self, request: GenerationRequest) -> Rendered | None:
        """Takes a request in; its events come from `step`.

        Returns the one event of a request that only wants its prompt rendered.
        Raises ContextOverflow, TemplateFailed, UsageError.
        """
        if request.render_only:
            return self._intake.render(request)
        if request.overflow == "drop" and (shortened := self._intake.shorten(request)):
            request, trimmed = shortened
            self._outbox.append(trimmed)
        elif request.overflow == "summarise" and (long := self._intake.to_summarise(request)):
            self._ask_for_summary(long)
            return None
        group = self._intake.accept(request)
        self._inbox.append(group)
        self._make_way(group)
        return None

    def resume(self, report: Summarised) -> Failed | None:
        """Goes on with a request of which a summary was to be made first."""
        long = self._summaries.get(report.request_id)
        if long is None:
            return None
        trimmed: Trimmed | None = None
        try:
            if long.rest:
                request, long = self._intake.summary_request(long, report.request_id)
            else:
                request, trimmed = self._intake.with_summary(long)
            group = self._intake.accept(request)
        except LocalchatError as error:
            self._summaries.pop(report.request_id, None)
            return _failed(long.request.id, error)
        with self._handover:
            if self._summaries.pop(report.request_id, None) is None:
                return None  # cancelled while the prompt was made
            if trimmed is None:
                self._summaries[report.request_id] = long
            else:
                self._outbox.append(trimmed)
            self._inbox.append(group)
        self._make_way(group)
        return None

    def cancel(self, request_id: str) -> None:
        """Ends the request at the next step, and the step in flight if no other loses by that."""
        self._cancelled.add(request_id)
        self._stop_for(request_id)

    def step(self) -> list[Report]:
        """Runs one batch; returns what happened, in order."""
        events = self._take_in()
        batch = self._scheduler.schedule()
        if not batch.chunks:
            return events
        try:
            outputs = self._run(batch)
        except Aborted:
            self._scheduler.roll_back(self._runner.keep)
            return events
        except LocalchatError as error:
            return events + self._fail_batch(batch, error)
        for chunk in batch.chunks:
            if chunk.sequence.num_completion_tokens == 0 and chunk.sequence.choice == 0:
                events.append(
                    PrefillProgress(
                        chunk.sequence.request.id,
                        min(chunk.end, chunk.sequence.num_prompt_tokens),
                        chunk.sequence.num_prompt_tokens,
                    )
                )
            if self._checkpoints is not None and chunk.end in chunk.sequence.checkpoints:
                self._checkpoints.checkpoint(
                    chunk.sequence.tokens[: chunk.end], self._runner.save(chunk.slot)
                )
        for sequence, output in self._scheduler.postprocess(batch, outputs):
            if sequence.request.id in self._groups:  # else its group failed in this very step
                events += self._grow(sequence, output)
        if self._summaries:  # their text goes into a prompt, not to a client
            return [e for e in events if e.request_id not in self._summaries or _is_report(e)]
        return events

    def tidy(self) -> bool:
        """Something useful while there is nothing to do: hands one idle slot to the snapshots.

        False if nothing is left of that kind.
        """
        if self._snapshots is None or self.has_work:
            return False
        slot = self._scheduler.slots.next_to_save(WORTH_SAVING)
        if slot is None:
            return False
        slot.is_saved = True
        state = self._runner.save(slot.index)
        self._snapshots.submit(slot.tokens, state, conversation=slot.conversation)
        return True

    def interrupt(self) -> None:
        """Stops the step in flight. Callable from any thread."""
        self._runner.abort()

    def close(self, timeout_seconds: float) -> None:
        """Ends all requests, unreported, and saves what is worth it before the process leaves."""
        self._inbox.clear()
        self._outbox.clear()
        self._cancelled.clear()
        for group in list(self._groups.values()):
            for sequence in group.open_sequences:
                self._remove(sequence)
        self._groups.clear()
        while self.tidy():
            pass
        if self._snapshots is not None:
            self._snapshots.drain(timeout_seconds)

    def _make_way(self, group: Group) -> None:
        """Stops a long step in flight if somebody waits for the first token of `group`."""
        in_flight = self._in_flight
        if (
            group.request.priority == "interactive"
            and self._scheduler.slots.can_cut
            and sum(chunk.num_rows for chunk in in_flight) >= _LONG_STEP
            and not any(chunk.sequence.is_interactive for chunk in in_flight)
        ):
            self._runner.abort()  # a step of a batch: it is made again later

    def _stop_for(self, *cancelled: str) -> None:
        """Stops the step in flight if one of these requests is in it and no other loses by that.

        Where memory can't be cut, it has to be one sequence's alone: see `Context.decode`.
        """
        in_flight, names = self._in_flight, {*cancelled, *map(_summary_id, cancelled)}
        is_harmless = len(in_flight) == 1 or self._scheduler.slots.can_cut
        if is_harmless and any(chunk.sequence.request.id in names for chunk in in_flight):
            self._runner.abort()

    def _ask_for_summary(self, long: TooLong) -> None:
        request_id = _summary_id(long.request.id)
        asked, rest = self._intake.summary_request(long, request_id)
        group = self._intake.accept(asked)
        with self._handover:
            self._summaries[request_id] = rest
            self._inbox.append(group)
        self._make_way(group)

    def _run(self, batch: ScheduledBatch) -> list[Output]:
        now = time.monotonic()
        for chunk in batch.chunks:
            chunk.sequence.started = chunk.sequence.started or now
        self._runner.clear_abort()
        self._in_flight = tuple(batch.chunks)
        self._stop_for(*self._cancelled)  # they came in while the batch was being chosen
        try:
            return self._runner.run(batch)
        finally:
            self._in_flight = ()

    def _take_in(self) -> list[Report]:
        with self._handover:
            # Cancellations are read first: the requests they name are in the inbox by then.
            cancelled = [self._cancelled.pop() for _ in range(len(self._cancelled))]
            waited = [self._summaries.pop(_summary_id(each), None) for each in cancelled]
            events: list[Report] = [self._outbox.popleft() for _ in range(len(self._outbox))]
            arrived = [self._inbox.popleft() for _ in range(len(self._inbox))]
            self._groups.update((group.request.id, group) for group in arrived)
        for group in arrived:
            try:
                for sequence in group.sequences:
                    self._begin(group, sequence)
            except LocalchatError as error:
                events.append(self._fail(group, error))
                continue
            if not group.sequences:
                events += self._end_group(group)
        for request_id, long in zip(cancelled, waited, strict=True):
            events += self._cancel_now(request_id, long)
        return events

    def _begin(self, group: Group, sequence: Sequence) -> None:
        prompts = self._intake.prompts
        completion = self._completions[sequence] = Completion(
            sequence,
            group.prompt,
            self._vocabulary,
            context=self.context,
            marker_pieces=prompts.marker_pieces,
            budget_end=prompts.budget_end if group.request.reasoning_budget is not None else [],
            grammar=group.grammar,
        )
        self._scheduler.add(sequence)
        self._constrain(sequence, completion)

    def _constrain(self, sequence: Sequence, completion: Completion) -> None:
        """From where the answer begins it follows the request's grammar."""
        if grammar := completion.due_grammar:
            self._runner.constrain(sequence, grammar)
        sequence.may_guess = not completion.may_be_diverted

    def _cancel_now(self, request_id: str, long: TooLong | None) -> list[Report]:
        """Ends a request; `long` says that it waits for a summary, which ends too."""
        events: list[Report] = []
        group = self._groups.get(_summary_id(request_id) if long else request_id)
        if group is not None:
            for sequence in group.open_sequences:
                events += self._finish(sequence, "cancelled")
        if long:
            none = Usage(0, 0, 0), Timings(0.0, 0.0, 0.0)
            return [Finished(request_id, "cancelled", *none, long.request.params.seed or 0)]
        return events

    def _grow(self, sequence: Sequence, output: Output) -> list[Report]:
        """Books what came out of one chunk: the text it makes certain, and the end if it is one."""
        if output.error is not None:
            self._scheduler.keep(sequence, 0, self._runner.keep)
            return [self._fail(self._groups[sequence.request.id], output.error)]
        now = time.monotonic()
        if output.scores or output.tokens:
            sequence.last_token = now
            sequence.first_token = sequence.first_token or now
        if sequence.targets:
            group = self._groups[sequence.request.id]
            group.add_scores(sequence, [score.logprob for score in output.scores])
            done = sequence.num_remaining_tokens == 0
            return self._finish(sequence, "stop") if done else []
        completion = self._completions[sequence]
        events: list[Report] = []
        for count, (token, score) in enumerate(zip_longest(output.tokens, output.scores), 1):
            events += completion.push(token, score)
            if completion.finish_reason is not None:
                self._drop_surplus(sequence, len(output.tokens) - count)
                return events + self._finish(sequence, completion.finish_reason)
        for token in completion.take_forced():
            sequence.tokens.append(token)
            events += completion.push(token, None)
        if completion.finish_reason is not None:
            return events + self._finish(sequence, completion.finish_reason)
        try:
            self._constrain(sequence, completion)
        except LocalchatError as error:
            return [*events, self._fail(self._groups[sequence.request.id], error)]
        return events

    def _drop_surplus(self, sequence: Sequence, count: int) -> None:
        """Takes back the last `count` tokens of a sequence; what it has then can go on."""
        if count:
            del sequence.tokens[-count:]
            held = min(sequence.num_computed_tokens, len(sequence.tokens) - 1)
            self._scheduler.keep(sequence, held, self._runner.keep)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> list[Report]:
        group = self._groups[sequence.request.id]
        completion = self._remove(sequence)
        group.end(sequence, reason, completion.num_tokens)
        events: list[Report] = list(completion.flush())
        long = self._summaries.get(sequence.request.id)
        if long is not None:
            del self._groups[sequence.request.id]
            self._summaries[sequence.request.id] = replace(long, summary=completion.answer.strip())
            return [Summarised(sequence.request.id)]
        if not group.open_sequences:
            events += self._end_group(group)
        return events

    def _end_group(self, group: Group) -> list[Event]:
        del self._groups[group.request.id]
        return [group.last_event()]

    def _fail_batch(self, batch: ScheduledBatch, error: LocalchatError) -> list[Report]:
        hit = self._scheduler.distrust(batch, self._runner.keep)
        requests = dict.fromkeys(sequence.request.id for sequence in hit)
        return [self._fail(self._groups[request_id], error) for request_id in requests]

    def _fail(self, group: Group, error: LocalchatError) -> Report:
        request_id = group.request.id
        del self._groups[request_id]
        for sequence in group.open_sequences:
            if sequence in self._completions:  # else it was not begun
                self._remove(sequence)
        long = self._summaries.pop(request_id, None)
        return _failed(long.request.id if long else request_id, error)

    def _remove(self, sequence: Sequence) -> Completion:
        self._scheduler.finish(sequence)
        self._runner.release(sequence)
        return self._completions.pop(sequence)


def _summary_id(request_id: str) -> str:
    return f"{request_id}/summary"


def _is_report(event: Report) -> bool:
    return isinstance(event, Summarised)


def _failed(request_id: str, error: LocalchatError) -> Failed:
    return Failed(request_id, type(error).__name__, str(error), error.hint)
