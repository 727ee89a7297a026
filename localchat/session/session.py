"""One conversation as it goes on: each turn is stored, asked, and folded into its reply."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from localchat.client.base import EngineClient
from localchat.errors import LocalchatError, ReplyInProgress, UsageError
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    Trimmed,
)
from localchat.session.ephemeral import Ephemeral
from localchat.session.messages import Sent, to_send, trim_of
from localchat.session.options import Options, to_json
from localchat.store.records import Ending, Outcome, Provenance, StoredMessage, Trim, Turn
from localchat.types import GenerationRequest, ModelRef, PartialReply, Role, Usage

# Seconds between two checkpoints, and one look at the clock. Half of what may be lost: text comes
# in pieces.
_CHECKPOINT = 1.0

Events = Generator[Event, None, None]


class Turns(Protocol):
    """What is needed of `localchat.store.store.Store`; `Ephemeral` has it too."""

    def start_turn(
        self,
        conversation: str | None,
        content: str,
        *,
        provenance: Provenance,
        parent: int | Literal["leaf", "root"] = "leaf",
        system: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Turn: ...
    def regenerate(self, message: int, provenance: Provenance) -> Turn: ...
    def continue_reply(self, reply: int, provenance: Provenance) -> Turn: ...
    def checkpoint(self, reply: int, content: str, reasoning: str = "") -> None: ...
    def finish(self, reply: int, content: str, reasoning: str, outcome: Outcome) -> None: ...
    def path(self, conversation: str, leaf: int | None = None) -> list[StoredMessage]: ...
    def message(self, id_: int) -> StoredMessage: ...
    def alternatives(self, conversation: str) -> dict[int, tuple[int, ...]]: ...
    def set_leaf(self, message: int) -> int: ...
    def go_back(self, conversation: str, message: int | None) -> None: ...
    def delete_message(self, message: int) -> None: ...


class _Draft:
    """A reply as far as it has come."""

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.is_stored = True

    @property
    def texts(self) -> tuple[str, str]:
        return "".join(self.content), "".join(self.reasoning)


class Session:
    """A conversation, new or stored, on one engine.

    `send`, `regenerate`, `edit` and `continue_reply` store the turn, then submit it; what they
    return are its events, up to the last one. When that comes, the reply is stored too. One that
    is left alone, by closing its iterator or by whatever else, is stored as far as it came.
    """

    def __init__(
        self,
        client: EngineClient,
        store: Turns | None,
        model: ModelRef,
        options: Options,
        *,
        conversation: str | None = None,
        system: str | None = None,
        settings: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store`: None, or an `Ephemeral`, for a conversation that nothing is kept of.

        `conversation`: the whole id of one that is in the store; a new one gets the `system`
        prompt and the `settings`. `clock` counts seconds.
        """
        self.options = options
        """What the next turns are asked with."""
        self.conversation = conversation
        """Its id, once it has one."""
        self.turn: Turn | None = None
        """The turn that was last begun."""
        self.replies: tuple[int, ...] = ()
        """Ids of its replies: several, if that many were asked for."""
        self.trouble: LocalchatError | None = None
        """Why the last reply is not in the store, or not all of it: it could not be written."""
        self.is_private = store is None or isinstance(store, Ephemeral)
        self._client = client
        self._store: Turns = Ephemeral() if store is None else store
        self._model = model
        self._system = system
        self._settings = settings
        self._clock = clock
        self._request_id: str | None = None

    def path(self) -> list[StoredMessage]:
        """The messages from the beginning to where the conversation is now."""
        if self.conversation is None and not self.is_private:
            return []
        return self._store.path(self.conversation or "")

    def send(self, text: str) -> Events:
        """Goes on with what the user says. Raises what storing it raises, then nothing was sent.

        After a turn that failed, it takes the place of that one: it may have been too long.
        """
        return self._say(text, _place(self.path()))

    def edit(self, message: int, text: str) -> Events:
        """Goes on from another text in the place of a message: the old one stays, as a branch.

        What the user said is answered anew; a reply goes on after the new text.
        """
        found = self._store.message(message)
        if found.role == "user":
            return self._say(text, "root" if found.parent is None else found.parent)
        # It was written by no model: there is nothing that would make it again.
        written = Provenance(self._model.name)
        turn = self._store.regenerate(message, written)
        self._store.finish(turn.reply, text, found.reasoning, Outcome("incomplete"))
        return self.continue_reply(turn.reply)

    def regenerate(self, message: int | None = None) -> Events:
        """Gives another reply beside a reply, or to what the user said; by default, the last."""
        options = self._drawn()
        last = self._last(message)
        turn = self._store.regenerate(last, self._provenance(options))
        return self._ask(turn, options, instead_of=last)

    def continue_reply(self, message: int | None = None) -> Events:
        """Goes on with a reply that was cut off; by default, the last. The events have what is new.

        Raises UsageError if it isn't the last message of its branch, ReplyInProgress.
        """
        options = self._drawn()
        options = options._replace(params=replace(options.params, n=1))
        turn = self._store.continue_reply(self._last(message), self._provenance(options))
        found = self._store.message(turn.reply)
        partial = PartialReply(found.content, found.reasoning)
        return self._ask(turn, options, partial=partial)

    def preview(self, text: str | None = None) -> GenerationRequest:
        """The request that `send` would make of a text, to be rendered: nothing is stored.

        Without one, what the model has seen up to now: the last reply, if there is one, is its
        `partial_reply`. Raises UsageError if there is nothing yet.
        """
        path = self.path()
        said, partial = [], None
        if text is not None:
            place = _place(path)
            path = path[: next((at for at, one in enumerate(path, 1) if one.id == place), 0)]
            said = [_unstored("user", text)]
        elif path and path[-1].role == "assistant":
            *path, last = path
            partial = PartialReply(last.content, last.reasoning)
        if not path and self.conversation is None and self._system is not None:
            path = [_unstored("system", self._system)]
        options = self._drawn()
        sent = to_send([*path, *said], options.system)
        if not sent:
            raise UsageError("There is no message yet.")
        request = self._request(sent, options)
        return replace(request, partial_reply=partial, render_only=True)

    def cancel(self) -> None:
        """Ends the reply that is being made; its last event still comes."""
        if self._request_id is not None:
            self._client.cancel(self._request_id)

    def _say(self, text: str, parent: int | Literal["root"]) -> Events:
        options = self._drawn()
        turn = self._store.start_turn(
            self.conversation,
            text,
            provenance=self._provenance(options),
            parent=parent,
            system=self._system if self.conversation is None else None,
            settings=self._settings,
        )
        return self._ask(turn, options)

    def _last(self, message: int | None) -> int:
        if message is not None:
            return message
        path = self.path()
        if not path:
            raise UsageError("There is no message yet.")
        return path[-1].id

    def _ask(
        self,
        turn: Turn,
        options: Options,
        *,
        partial: PartialReply | None = None,
        instead_of: int | None = None,
    ) -> Events:
        """`instead_of`: the message to come back to if there is no reply."""
        self.conversation, self.turn, self.trouble = turn.conversation, turn, None
        drafts = [_Draft(turn.reply)]
        for choice in range(1, options.params.n):
            seeded = replace(options.params, seed=((options.params.seed or 0) + choice) % 2**32)
            provenance = self._provenance(options._replace(params=seeded))
            drafts.append(_Draft(self._store.regenerate(turn.user, provenance).reply))
        if len(drafts) > 1:
            self._store.set_leaf(turn.reply)
        if partial is not None:
            drafts[0].content.append(partial.content)
            drafts[0].reasoning.append(partial.reasoning)
        self.replies = tuple(draft.id for draft in drafts)
        sent = to_send(self._store.path(turn.conversation, turn.user), options.system)
        request = replace(self._request(sent, options), partial_reply=partial)
        try:
            self._client.submit(request)
        except LocalchatError as error:
            self._end(drafts, [Outcome("failed", error=str(error))] * len(drafts), instead_of)
            raise
        self._request_id = request.id
        return self._follow(request.id, drafts, sent, instead_of)

    def _request(self, sent: Sequence[Sent], options: Options) -> GenerationRequest:
        return GenerationRequest(
            os.urandom(8).hex(),
            tuple(one.message for one in sent),
            params=options.params,
            conversation=self.conversation,
            private=self.is_private,
            overflow=options.overflow,
            reasoning=options.reasoning,
            reasoning_budget=options.reasoning_budget,
        )

    def _drawn(self) -> Options:
        """The options with a seed: also a reply that never ends can be made again."""
        params = self.options.params
        if params.seed is None:
            params = replace(params, seed=int.from_bytes(os.urandom(4)))
        return self.options._replace(params=params)

    def _provenance(self, options: Options) -> Provenance:
        info = self._client.info
        return Provenance(
            self._model.name,
            self._model.sha256,
            info.template_sha256,
            info.build or None,
            to_json(options),
        )

    def _follow(
        self, request_id: str, drafts: list[_Draft], sent: Sequence[Sent], instead_of: int | None
    ) -> Events:
        """Passes the events on, and folds them into the drafts."""
        trim: Trim | None = None
        stored = self._clock()
        try:
            for event in self._client.events():
                if event.request_id != request_id:
                    continue  # of a request that was left alone
                match event:
                    case Trimmed(dropped=dropped, summary=summary):
                        trim = trim_of(sent, dropped, summary)
                    case TextDelta(text=text, choice=choice):
                        drafts[choice].content.append(text)
                        drafts[choice].is_stored = False
                    case ReasoningDelta(text=text, choice=choice):
                        drafts[choice].reasoning.append(text)
                        drafts[choice].is_stored = False
                    case Finished() | Failed():
                        self._request_id = None
                        self._end(drafts, _outcomes(event, len(drafts), trim), instead_of)
                if self._clock() - stored >= _CHECKPOINT:
                    self._checkpoint(drafts)
                    stored = self._clock()
                yield event
                if isinstance(event, LAST_EVENTS):
                    return
        except BaseException as error:  # the engine died, the iterator was closed, or Ctrl-C
            if self._request_id == request_id:
                self._request_id = None
                why = str(error) if isinstance(error, LocalchatError) else None
                self._end(drafts, [Outcome("incomplete", trim=trim, error=why)] * len(drafts))
                with contextlib.suppress(LocalchatError, OSError):
                    self._client.cancel(request_id)
            raise

    def _checkpoint(self, drafts: list[_Draft]) -> None:
        for draft in drafts:
            if not draft.is_stored:
                self._try(functools.partial(self._store.checkpoint, draft.id, *draft.texts))
                draft.is_stored = True

    def _end(
        self, drafts: list[_Draft], outcomes: Sequence[Outcome], instead_of: int | None = None
    ) -> None:
        self.trouble = None  # what could not be written before may be now: all of it is
        for draft, outcome in zip(drafts, outcomes, strict=True):
            self._try(functools.partial(self._store.finish, draft.id, *draft.texts, outcome))
            draft.is_stored = True
        if instead_of is not None and outcomes[0].state == "failed" and not any(drafts[0].texts):
            self._try(functools.partial(self._store.set_leaf, instead_of))

    def _try(self, write: Callable[[], object]) -> None:
        """A reply goes on for the user where it can't be kept, say on a full disk."""
        try:
            write()
        except LocalchatError as error:
            self.trouble = error


def _unstored(role: Role, content: str) -> StoredMessage:
    return StoredMessage(0, "", None, role, content, "", 0.0, "complete")


def _place(path: Sequence[StoredMessage]) -> int | Literal["root"]:
    """What the user's next words go below. Raises ReplyInProgress."""
    if not path:
        return "root"
    last = path[-1]
    if last.state == "generating":
        raise ReplyInProgress(
            "The last reply is being written by another localchat.", "Wait until it is complete."
        )
    if last.state == "failed" and not last.content and len(path) > 1:
        asked = path[-2]
        return "root" if asked.parent is None else asked.parent
    return last.id


def _outcomes(event: Finished | Failed, count: int, trim: Trim | None) -> list[Outcome]:
    if isinstance(event, Failed):
        return [Outcome("failed", trim=trim, error=event.message)] * count
    ends: list[tuple[Any, int, int]] = [
        (end.finish_reason, end.seed, end.completion_tokens) for end in event.choices
    ] or [(event.finish_reason, event.seed, event.usage.completion_tokens)]
    outcomes = []
    for reason, seed, tokens in ends:
        state: Ending = "incomplete" if reason == "cancelled" else "complete"
        usage = Usage(event.usage.prompt_tokens, event.usage.cached_tokens, tokens)
        outcomes.append(Outcome(state, reason, seed, usage, event.timings, trim))
    return outcomes
