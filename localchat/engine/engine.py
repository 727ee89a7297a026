"""The engine: requests in, events out, one step at a time.

It knows no process, socket or thread. `submit` may be called from the main thread while another
one calls `step`; `cancel` from anywhere.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Protocol

from localchat.engine.detokenizer import Detokenizer
from localchat.engine.prompt import Prompt, PromptBuilder
from localchat.engine.scheduler import Aborted, ScheduledBatch, Scheduler
from localchat.engine.sequence import Sequence
from localchat.errors import ContextOverflow, LocalchatError
from localchat.events import (
    Event,
    Failed,
    Finished,
    PrefillProgress,
    Rendered,
    TextDelta,
)
from localchat.types import FinishReason, GenerationRequest


class Runner(Protocol):
    """What the engine needs of `localchat.engine.runner.ModelRunner`; tests have a fake one."""

    def run(self, scheduled: ScheduledBatch) -> list[int]: ...
    def keep(self, slot: int, count: int) -> int: ...
    def abort(self) -> None: ...
    def clear_abort(self) -> None: ...
    def release(self, sequence: Sequence) -> None: ...


class Pieces(Protocol):
    """What the engine needs of `localchat.llama.vocabulary.Vocabulary`."""

    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...


class Engine:
    """Schedules requests on a runner and reports their events.

    `context` is the number of tokens one request may fill; `can_grow`, whether the model was
    trained for more.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        prompts: PromptBuilder,
        vocabulary: Pieces,
        *,
        context: int,
        can_grow: bool = False,
    ) -> None:
        self.context = context
        self._can_grow = can_grow
        self._scheduler = scheduler
        self._runner = runner
        self._prompts = prompts
        self._vocabulary = vocabulary
        self._inbox: deque[Sequence] = deque()
        self._cancelled: set[str] = set()
        self._sequences: dict[str, Sequence] = {}
        self._detokenizers: dict[Sequence, Detokenizer] = {}
        self._in_flight: frozenset[str] = frozenset()

    @property
    def has_work(self) -> bool:
        return bool(self._inbox or self._cancelled or self._scheduler.has_work)

    @property
    def num_requests(self) -> int:
        return len(self._sequences) + len(self._inbox)

    def submit(self, request: GenerationRequest) -> Rendered | None:
        """Takes a request in; its events come from `step`.

        Returns the one event of a request that only wants its prompt rendered.
        Raises ContextOverflow, TemplateFailed.
        """
        prompt = self._prompts.build(request)
        if request.render_only:
            return Rendered(request.id, prompt.text, len(prompt.tokens))
        self._check_length(prompt)
        seed = request.params.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4))
        self._inbox.append(Sequence(request, prompt.tokens, seed, time.monotonic()))
        return None

    def cancel(self, request_id: str) -> None:
        """Ends the request at the next step, and the step in flight if it works on it."""
        self._cancelled.add(request_id)
        if request_id in self._in_flight:
            self._runner.abort()

    def step(self) -> list[Event]:
        """Runs one batch; returns what happened, in order."""
        events = self._take_in()
        batch = self._scheduler.schedule()
        if not batch.chunks:
            return events
        try:
            tokens = self._run(batch)
        except Aborted:
            self._scheduler.roll_back(batch, self._runner.keep)
            return events
        except LocalchatError as error:
            return events + self._fail(batch, error)
        for chunk in batch.chunks:
            if chunk.sequence.num_completion_tokens == 0:
                events.append(
                    PrefillProgress(
                        chunk.sequence.request.id,
                        chunk.start + chunk.count,
                        chunk.sequence.num_prompt_tokens,
                    )
                )
        for sequence, token in self._scheduler.postprocess(batch, tokens):
            events += self._grow(sequence, token)
        return events

    def _run(self, batch: ScheduledBatch) -> list[int]:
        now = time.monotonic()
        for chunk in batch.chunks:
            chunk.sequence.started = chunk.sequence.started or now
        self._runner.clear_abort()
        self._in_flight = frozenset(chunk.sequence.request.id for chunk in batch.chunks)
        if self._cancelled & self._in_flight:  # came in while the batch was being chosen
            self._runner.abort()
        try:
            return self._runner.run(batch)
        finally:
            self._in_flight = frozenset()

    def _take_in(self) -> list[Event]:
        # Cancellations are read first: the requests they name are in the inbox by then.
        cancelled = [self._cancelled.pop() for _ in range(len(self._cancelled))]
        while self._inbox:
            sequence = self._inbox.popleft()
            self._sequences[sequence.request.id] = sequence
            self._detokenizers[sequence] = Detokenizer(sequence.request.params.stop)
            self._scheduler.add(sequence)
        events: list[Event] = []
        for request_id in cancelled:
            ended = self._sequences.get(request_id)
            if ended is not None:
                events += self._finish(ended, "cancelled")
        return events

    def _grow(self, sequence: Sequence, token: int) -> list[Event]:
        """Books one sampled token: the text it makes certain, and the end if it is one."""
        sequence.last_token = time.monotonic()
        sequence.first_token = sequence.first_token or sequence.last_token
        if self._vocabulary.is_end(token):
            return self._finish(sequence, "stop")
        detokenizer = self._detokenizers[sequence]
        text = detokenizer.push(self._vocabulary.piece(token))
        events: list[Event] = [TextDelta(sequence.request.id, text)] if text else []
        if detokenizer.stopped:
            return events + self._finish(sequence, "stop")
        limit = sequence.request.params.max_tokens
        used_up = limit is not None and sequence.num_completion_tokens >= limit
        if used_up or len(sequence.tokens) >= self.context:
            return events + self._finish(sequence, "length")
        return events

    def _finish(self, sequence: Sequence, reason: FinishReason) -> list[Event]:
        rest = self._remove(sequence).flush()
        request_id = sequence.request.id
        events: list[Event] = [TextDelta(request_id, rest)] if rest else []
        return [
            *events,
            Finished(request_id, reason, sequence.usage, sequence.timings, sequence.seed),
        ]

    def _fail(self, batch: ScheduledBatch, error: LocalchatError) -> list[Event]:
        """After a fatal decode error nothing in the memory of these slots can be trusted."""
        events: list[Event] = []
        for chunk in batch.chunks:
            self._runner.keep(chunk.slot, 0)
            self._remove(chunk.sequence, keep=False)
            kind = type(error).__name__
            events.append(Failed(chunk.sequence.request.id, kind, str(error), error.hint))
        return events

    def _remove(self, sequence: Sequence, *, keep: bool = True) -> Detokenizer:
        self._scheduler.finish(sequence, keep=keep)
        self._runner.release(sequence)
        del self._sequences[sequence.request.id]
        return self._detokenizers.pop(sequence)

    def _check_length(self, prompt: Prompt) -> None:
        if len(prompt.tokens) >= self.context:
            raise ContextOverflow(
                f"The prompt has {len(prompt.tokens):,} tokens,"
                f" but the context holds {self.context:,} with the reply.",
                f"Shorten the prompt, or give it room: LOCALCHAT_CONTEXT={2 * len(prompt.tokens)}"
                if self._can_grow
                else "Shorten the prompt: the model was not trained for more.",
            )
        if not prompt.tokens:
            raise ContextOverflow("The prompt has no tokens, so there is nothing to continue.")
