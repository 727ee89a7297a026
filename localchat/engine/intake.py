"""From a request to sequences: its prompt, what it forbids, and what to do if it is too long."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from localchat import shortened
from localchat.engine import overflow
from localchat.engine.group import Group
from localchat.engine.prompt import Prompt, PromptBuilder
from localchat.engine.sequence import Sequence
from localchat.engine.slots import common_prefix
from localchat.errors import ContextOverflow, UsageError
from localchat.events import Rendered, Trimmed
from localchat.types import GenerationRequest, Message, SamplingParams

_MOST_COMPLETIONS = 64
_MOST_LOGPROBS = 100
_MOST_CONTINUATIONS = 10_000

Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class TooLong:
    """A conversation that needs a summary of some messages before it can be answered."""

    request: GenerationRequest
    dropped: tuple[int, ...]
    rest: tuple[Message, ...]
    """What is still to be summarised."""
    summary: str | None = None
    """Of the dropped messages before `rest`."""


class Intake:
    """Turns the requests of one model into groups. `context` counts tokens, prompt and reply.

    `biases` resolves `SamplingParams.logit_bias`; `grammar` makes the sampler's grammar of the
    parameters. Both raise UsageError for what can't be done. `has_checkpoints`: the memory can't be
    cut, so sequences leave states at the ends of messages.
    """

    def __init__(
        self,
        prompts: PromptBuilder,
        tokenize: Tokenize,
        biases: Callable[[SamplingParams], tuple[tuple[int, float], ...]],
        grammar: Callable[[SamplingParams], str | None],
        *,
        context: int,
        can_grow: bool,
        has_checkpoints: bool,
    ) -> None:
        self.prompts = prompts
        self._tokenize = tokenize
        self._biases = biases
        self._grammar = functools.lru_cache(maxsize=8)(grammar)
        self._context = context
        self._can_grow = can_grow
        self._has_checkpoints = has_checkpoints

    def accept(self, request: GenerationRequest) -> Group:
        """The sequences of a request. Raises ContextOverflow, TemplateFailed, UsageError."""
        self._check(request)
        prompt = self.prompts.build(request)
        self._check_length(prompt)
        params = replace(request.params, logit_bias=self._biases(request.params))
        grammar = self._grammar(replace(params, logit_bias=(), seed=None))
        request = replace(request, params=params)
        if request.continuations:
            return Group(request, prompt, self._scored(request, prompt))
        seed = params.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4))
        checkpoints = self._checkpoints(request, prompt)
        now = time.monotonic()
        sequences = [
            Sequence(
                request,
                list(prompt.tokens),
                (seed + choice) % 2**32,
                now,
                choice,
                checkpoints=checkpoints,
                num_said_tokens=prompt.num_said,
            )
            for choice in range(params.n)
        ]
        return Group(request, prompt, sequences, grammar)

    def render(self, request: GenerationRequest) -> Rendered:
        """What the model would see of a request. Raises TemplateFailed."""
        kept = None
        with contextlib.suppress(ContextOverflow):  # nothing would be sent: then all is shown
            kept = self._kept(request) if request.overflow != "refuse" else None
        shown = replace(request, messages=kept.messages) if kept else request
        prompt = self.prompts.build(shown)
        tokens = [self.prompts.count(one.content, prompt) for one in request.messages]
        if request.partial_reply:
            tokens.append(prompt.num_said)
        return Rendered(
            request.id,
            prompt.text,
            len(prompt.tokens),
            tuple(tokens),
            kept.dropped if kept else (),
            self.prompts.said(shown, prompt),
        )

    def shorten(self, request: GenerationRequest) -> tuple[GenerationRequest, Trimmed] | None:
        """The request without its oldest turns, if it is too long."""
        kept = self._kept(request)
        if kept is None:
            return None
        return replace(request, messages=kept.messages), Trimmed(request.id, kept.dropped)

    def to_summarise(self, request: GenerationRequest) -> TooLong | None:
        """What of a request must be summarised, if it is too long."""
        kept = self._kept(request)
        if kept is None:
            return None
        dropped = tuple(request.messages[index] for index in kept.dropped)
        return TooLong(request, kept.dropped, dropped)

    def summary_request(self, long: TooLong, request_id: str) -> tuple[GenerationRequest, TooLong]:
        """The next part of a summary to ask for, and what is left after it."""
        room = overflow.summary_room(self._context)
        count = self._count(replace(long.request, reasoning="off", partial_reply=None))
        step = overflow.summary_step(long.rest, long.summary, count, self._context - room)
        asked = GenerationRequest(
            request_id,
            step.request,
            params=SamplingParams(temperature=0.0, repeat_penalty=1.1, max_tokens=room),
            priority=long.request.priority,
            private=long.request.private,
            reasoning="off",
        )
        return asked, replace(long, rest=step.rest)

    def with_summary(self, long: TooLong) -> tuple[GenerationRequest, Trimmed]:
        """The request with the summary in place of what it stands for.

        A text may have more tokens than were sampled to make it: then the summary loses its end.
        """
        request, summary = long.request, long.summary or ""
        limit = self._context - overflow.reply_room(self._context, request.params.max_tokens)
        count = self._count(request)
        messages = shortened.with_summary(request.messages, long.dropped, summary)
        while summary and count(messages) > limit:
            summary = summary[: len(summary) * 3 // 4]
            messages = shortened.with_summary(request.messages, long.dropped, summary)
        return (
            replace(request, messages=messages, overflow="refuse"),
            Trimmed(request.id, long.dropped, summary),
        )

    def _kept(self, request: GenerationRequest) -> overflow.Kept | None:
        """What stays of a request that is too long. Raises ContextOverflow."""
        limit = self._context - overflow.reply_room(self._context, request.params.max_tokens)
        count = self._count(request)
        if request.prompt is not None or count(request.messages) <= limit:
            return None
        if request.overflow == "summarise":
            limit -= overflow.summary_room(self._context)
        return overflow.drop_oldest(request.messages, count, limit)

    def _count(self, request: GenerationRequest) -> overflow.Count:
        def count(messages: tuple[Message, ...]) -> int:
            return len(self.prompts.build(replace(request, messages=messages)).tokens)

        return count

    def _check(self, request: GenerationRequest) -> None:
        params = request.params
        if not 1 <= params.n <= _MOST_COMPLETIONS:
            raise UsageError(f"A request has 1 to {_MOST_COMPLETIONS} completions, not {params.n}.")
        if params.logprobs is not None and not 0 <= params.logprobs <= _MOST_LOGPROBS:
            raise UsageError(f"At most {_MOST_LOGPROBS} log-probabilities come with a token.")
        if len(request.continuations) > _MOST_CONTINUATIONS:
            raise UsageError(f"At most {_MOST_CONTINUATIONS:,} texts can be scored at once.")
        if request.partial_reply and (params.grammar or params.json_schema):
            raise UsageError(
                "A reply that follows a grammar can't be continued.", "Ask for a new one."
            )

    def _check_length(self, prompt: Prompt) -> None:
        if not prompt.tokens:
            raise ContextOverflow("The prompt has no tokens, so there is nothing to continue.")
        if len(prompt.tokens) >= self._context:
            raise ContextOverflow(
                f"The prompt has {len(prompt.tokens):,} tokens,"
                f" but the context holds {self._context:,} with the reply.",
                f"Shorten the prompt, or give it room: LOCALCHAT_CONTEXT={2 * len(prompt.tokens)}"
                if self._can_grow
                else "Shorten the prompt: the model was not trained for more.",
            )

    def _scored(self, request: GenerationRequest, prompt: Prompt) -> list[Sequence]:
        """The first continuation that has tokens, which tells the others' first ones as well, and
        what is left of each of them."""
        checkpoints = self._checkpoints(request, prompt)
        found: list[tuple[int, list[int]]] = []
        for choice, text in enumerate(request.continuations):
            targets = self._tokenize(text)
            tokens = [*prompt.tokens, *targets[:-1]]
            if len(tokens) >= self._context:
                raise ContextOverflow(
                    f"The prompt has {len(tokens):,} tokens with continuation number {choice + 1},"
                    f" but the context holds {self._context:,}.",
                    "Shorten one of the two.",
                )
            if targets:
                found.append((choice, targets))
        now = time.monotonic()
        return [
            Sequence(
                request,
                [*prompt.tokens, *targets[:-1]],
                0,
                now,
                choice,
                targets=tuple(targets[number > 0 :]),
                alternatives=()
                if number
                else tuple((other, tokens[0]) for other, tokens in found[1:]),
                checkpoints=checkpoints,
            )
            for number, (choice, targets) in enumerate(found)
            if number == 0 or len(targets) > 1
        ]

    def _checkpoints(self, request: GenerationRequest, prompt: Prompt) -> tuple[int, ...]:
        """Where later prompts may branch off: before the last message, and before the reply."""
        if not self._has_checkpoints or not request.reuse_cache:
            return ()
        points = {len(prompt.tokens) - 1, len(prompt.tokens) - prompt.num_said - 1}
        request = replace(request, partial_reply=None)
        for messages in (request.messages[:1], request.messages[:-1]):
            if 0 < len(messages) < len(request.messages):
                shorter = self.prompts.build(replace(request, messages=messages)).tokens
                points.add(common_prefix(shorter, prompt.tokens))
        return tuple(sorted(point for point in points if point > 0))
