"""Makes a stored reply again, and finds where the new one becomes another.

The prompt, the values and the seed are those of the record. What is compared is the text. All of it
is computed afresh and token by token: nothing comes from a cache, nothing is guessed ahead. The
first time it may have been otherwise, and then roundings differ; where two tokens were about as
likely, that decides which one is drawn. So a difference comes with how likely both tokens were.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from localchat.client.base import EngineClient
from localchat.errors import ReplyInProgress, UsageError, from_kind
from localchat.events import Event, Failed, Finished, ReasoningDelta, TextDelta, TokenLogprobs
from localchat.session.messages import dropped_of, to_send
from localchat.session.options import from_json
from localchat.shortened import with_summary, without
from localchat.store.records import Generation, StoredMessage, Trim
from localchat.types import GenerationRequest, Message, PartialReply

Kind = Literal["content", "reasoning"]

_LIKELIEST = 20  # tokens among which the recorded one is looked for
_AROUND = 60  # characters to show after a difference


class Part(NamedTuple):
    """One run of the engine on a reply: the request that is made again, and what came of it."""

    request: GenerationRequest
    content: str
    reasoning: str
    is_whole: bool
    """Whether it came to its own end: else what follows was not waited for."""
    made: Generation


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
    found = [
        _part(path, number) for number, made in enumerate(reply.generations) if _is_known(made)
    ]
    if not found:
        raise UsageError("How this reply was made is not known: it was imported, or written.")
    return found


def _is_known(made: Generation) -> bool:
    return "seed" in made.provenance.params


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
        _messages(before, made.trim),
        partial_reply=partial if number else None,
        params=replace(options.params, logprobs=_LIKELIEST),
        reuse_cache=False,
        private=True,
        reasoning=options.reasoning,
        reasoning_budget=options.reasoning_budget,
        speculate=False,
    )
    return Part(
        request,
        reply.content[made.content_from : content_to],
        reply.reasoning[made.reasoning_from : reasoning_to],
        not following and reply.state == "complete",
        made,
    )


def _messages(before: Sequence[StoredMessage], trim: Trim | None) -> tuple[Message, ...]:
    sent = to_send(before)
    messages = tuple(one.message for one in sent)
    if trim is None:
        return messages
    dropped = dropped_of(sent, trim)
    if trim.summary is None:
        return without(messages, dropped)
    return with_summary(messages, dropped, trim.summary)


def replay(client: EngineClient, part: Part) -> Difference | None:
    """Makes a part again; None if it is the same. Raises what the engine's failure stands for."""
    comparison = _Comparison(part)
    client.submit(part.request)
    for event in client.events():
        if event.request_id != part.request.id:
            continue  # of a part that had said enough
        match event:
            case Failed(kind=kind, message=message, hint=hint):
                raise from_kind(kind, message, hint)
            case Finished():
                break
        comparison.take(event)
        if comparison.is_decided:
            client.cancel(part.request.id)
            break
    return comparison.end()


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
