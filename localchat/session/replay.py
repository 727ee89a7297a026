"""Makes a stored reply again, and finds where the new one becomes another.

The prompt, the values and the seed are those of the record. What is compared is the text.

Roundings decide between tokens that are about as likely, and they depend on what was computed
together: a prompt at once, or a reply token by token, which the next turn found in memory. So a
reply for which something was there is made in the same way: the replies before it are made first,
back to one that began from nothing, and of what they leave as much is reused as it was the first
time. `Replayed` says whether that could be done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from localchat.client.base import EngineClient
from localchat.errors import ReplyInProgress, UsageError, from_kind
from localchat.events import Event, Failed, Finished, ReasoningDelta, TextDelta, TokenLogprobs
from localchat.session.messages import dropped_of, to_send
from localchat.session.options import from_json
from localchat.shortened import with_summary, without
from localchat.store.records import Generation, StoredMessage, Trim
from localchat.types import GenerationRequest, Message, PartialReply, Usage

Kind = Literal["content", "reasoning"]

_LIKELIEST = 20  # tokens among which the recorded one is looked for
_AROUND = 60  # characters to show after a difference
_ALL = 2**31  # tokens: more than any context holds


class Part(NamedTuple):
    """One run of the engine on a reply: the request that is made again, and what came of it."""

    request: GenerationRequest
    content: str
    reasoning: str
    is_whole: bool
    """Whether it came to its own end: else what follows was not waited for."""
    made: Generation


class Replayed(NamedTuple):
    """What came of making a reply again."""

    difference: Difference | None
    part: Part
    """The run that differs, or the last one."""
    is_as_made: bool
    """Whether as many tokens were there for each run as the first time, made in the same way."""


class Difference(NamedTuple):
    """Where the texts part."""

    kind: Kind
    at: int
    """Characters of this run's text that are the same."""
    token: int
    """The first token that is another, from 1."""
    recorded: str
    """How it went on."""
    replayed: str
    likelihoods: tuple[tuple[str, float], ...] = ()
    """The replayed and, if it was among the likeliest, the recorded token, with the logarithms of
    their probabilities."""


def parts(path: Sequence[StoredMessage]) -> list[Part]:
    """The runs that have made the reply at the end of a path, in their order.

    Raises UsageError for what no model has made, ReplyInProgress.
    """
    reply = path[-1]
    if reply.role != "assistant":
        raise UsageError(f"Message {reply.id} is not a reply, so it can't be made again.")
    if reply.state == "generating":
        raise ReplyInProgress("This reply is still being written.", "Wait until it is complete.")
    found = _known(path)
    if not found:
        raise UsageError("How this reply was made is not known: it was imported, or written.")
    return found


def _known(path: Sequence[StoredMessage]) -> list[Part]:
    made = path[-1].generations
    return [_part(path, n) for n in range(len(made)) if "seed" in made[n].provenance.params]


def _leading(path: Sequence[StoredMessage], first: Part) -> list[Part]:
    """The runs before `first` that left what was there for it, as far as they are known."""
    leading: list[Part] = []
    for end in range(len(path) - 1, 0, -1):
        usage = (leading or [first])[0].made.usage
        if usage is not None and not usage.cached_tokens:
            break
        if path[end - 1].role == "assistant" and path[end - 1].content:
            found = _known(path[:end])
            if not found:
                break
            leading = found + leading
    return leading


def _part(path: Sequence[StoredMessage], number: int) -> Part:
    *before, reply = path
    made = reply.generations[number]
    following = reply.generations[number + 1 :]
    content_to = following[0].content_from if following else len(reply.content)
    reasoning_to = following[0].reasoning_from if following else len(reply.reasoning)
    options = from_json(made.provenance.params)
    partial = PartialReply(
        reply.content[: made.content_from], reply.reasoning[: made.reasoning_from]
    )
    request = GenerationRequest(
        os.urandom(8).hex(),
        _messages(before, options.system, made.trim),
        partial_reply=partial if number else None,
        params=replace(options.params, logprobs=_LIKELIEST),
        private=True,
        reasoning=options.reasoning,
        reasoning_budget=options.reasoning_budget,
    )
    return Part(
        request,
        reply.content[made.content_from : content_to],
        reply.reasoning[made.reasoning_from : reasoning_to],
        not following and reply.state == "complete",
        made,
    )


def _messages(
    before: Sequence[StoredMessage], system: str | None, trim: Trim | None
) -> tuple[Message, ...]:
    sent = to_send(before, system)
    messages = tuple(one.message for one in sent)
    if trim is None:
        return messages
    dropped = dropped_of(sent, trim)
    if trim.summary is None:
        return without(messages, dropped)
    return with_summary(messages, dropped, trim.summary)


def replay(
    client: EngineClient,
    path: Sequence[StoredMessage],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replayed:
    """Makes the reply at the end of a path again; `progress` is told of the runs it takes.

    Raises what `parts` raises, and what the engine's failure stands for.
    """
    wanted = parts(path)
    leading = _leading(path, wanted[0])
    engine = _Engine(client)
    for number, part in enumerate(leading):
        progress(number, len(leading) + len(wanted))
        if engine.run(part) is not None:
            engine.is_as_made = False
    for number, part in enumerate(wanted, len(leading)):
        progress(number, len(leading) + len(wanted))
        difference = engine.run(part)
        if difference is not None:
            break
    return Replayed(difference, part, engine.is_as_made)


class _Engine:
    """Runs the parts of a conversation in its own memory of the engine's."""

    def __init__(self, client: EngineClient) -> None:
        self.is_as_made = True
        self._client = client
        self._conversation = os.urandom(8).hex()
        self._num_there = 0  # tokens that the last run has left

    def run(self, part: Part) -> Difference | None:
        recorded = part.made.usage
        cached = recorded.cached_tokens if recorded else None
        if cached is not None and cached > self._num_there:
            # Of a reply that was beside this one, or of another conversation with this beginning.
            one = replace(part.request.params, max_tokens=1, logprobs=None)
            self._ask(replace(part.request, params=one, reuse_own=cached), None)
        asked = replace(part.request, reuse_own=_ALL if cached is None else cached)
        comparison = _Comparison(part)
        usage = self._ask(asked, comparison)
        if cached is not None and usage.cached_tokens < cached:  # there is enough now
            comparison = _Comparison(part)
            usage = self._ask(asked, comparison)
        if usage.cached_tokens != cached:
            self.is_as_made = False
        return comparison.end()

    def _ask(self, request: GenerationRequest, comparison: _Comparison | None) -> Usage:
        request = replace(request, id=os.urandom(8).hex(), conversation=self._conversation)
        self._client.submit(request)
        is_decided = False
        for event in self._client.events():
            match event:
                case Failed(kind=kind, message=message, hint=hint):
                    raise from_kind(kind, message, hint)
                case Finished(usage=usage):
                    self._num_there = usage.prompt_tokens + usage.completion_tokens - 1
                    return usage
            if comparison is not None and not is_decided:
                comparison.take(event)
                is_decided = comparison.is_decided
                if is_decided:
                    self._client.cancel(request.id)
        raise AssertionError("a request ends with Finished or Failed")


class _Comparison:
    """Of texts that come bit by bit with the ones that are recorded."""

    def __init__(self, part: Part) -> None:
        self._expected: dict[Kind, str] = {"content": part.content, "reasoning": part.reasoning}
        self._is_whole = part.is_whole
        self._come: dict[Kind, str] = {"content": "", "reasoning": ""}
        self._tokens = 0
        self._token: TokenLogprobs | None = None
        self._difference: Difference | None = None

    @property
    def is_decided(self) -> bool:
        """Whether nothing that may still come would change the outcome, or be shown."""
        if self._difference is not None:
            rest = self._come[self._difference.kind][self._difference.at :]
            return len(rest) >= _AROUND
        enough = all(self._come[kind].startswith(self._expected[kind]) for kind in self._expected)
        return enough and not self._is_whole and self._tokens > 0

    def take(self, event: Event) -> None:
        match event:
            case TokenLogprobs():
                self._tokens += 1
                self._token = event
            case TextDelta(text=text):
                self._add("content", text)
            case ReasoningDelta(text=text):
                self._add("reasoning", text)

    def end(self) -> Difference | None:
        """The difference; its continuations are as long as they are to be shown."""
        if self._difference is None:
            for kind in self._expected:
                if self._come[kind] != self._expected[kind] and (
                    self._is_whole or not self._come[kind].startswith(self._expected[kind])
                ):
                    self._found(kind, len(self._come[kind]))
                    break
        found = self._difference
        if found is None:
            return None
        end = found.at + _AROUND
        return found._replace(
            recorded=self._expected[found.kind][found.at : end],
            replayed=self._come[found.kind][found.at : end],
        )

    def _add(self, kind: Kind, text: str) -> None:
        start = len(self._come[kind])
        self._come[kind] += text
        if self._difference is None and not self._agree(kind):
            self._found(kind, start)

    def _agree(self, kind: Kind) -> bool:
        come, expected = self._come[kind], self._expected[kind]
        is_beyond = not self._is_whole and come.startswith(expected)
        return is_beyond or expected.startswith(come)

    def _found(self, kind: Kind, start: int) -> None:
        """`start`: where the text begins that the last token has brought."""
        come, expected = self._come[kind], self._expected[kind]
        pairs = enumerate(zip(come, expected, strict=False))
        shorter = min(len(come), len(expected))
        at = next((place for place, (new, old) in pairs if new != old), shorter)
        self._difference = Difference(
            kind, at, max(self._tokens, 1), "", "", self._likelihoods(expected[start:])
        )

    def _likelihoods(self, recorded: str) -> tuple[tuple[str, float], ...]:
        token = self._token
        if token is None:
            return ()
        found = [(token.text, token.logprob)]
        others = [one for one in token.top if one[0] and recorded.startswith(one[0])]
        if others:
            found.append(max(others, key=lambda one: len(one[0])))
        return tuple(found)
