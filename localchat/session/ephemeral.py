"""A conversation that is kept in memory alone: nothing of it is ever written."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from localchat.errors import ConversationNotFound, ReplyInProgress, UsageError
from localchat.store.records import Generation, Outcome, Provenance, StoredMessage, Turn
from localchat.types import Role

P = ParamSpec("P")
T = TypeVar("T")


def _alone(
    method: Callable[Concatenate[Ephemeral, P], T],
) -> Callable[Concatenate[Ephemeral, P], T]:
    """Threads take turns: one writes a reply while another looks."""

    @functools.wraps(method)
    def locked(self: Ephemeral, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._turn:
            return method(self, *args, **kwargs)

    return locked


class Ephemeral:
    """Does for one conversation what a `localchat.store.store.Store` does for all."""

    def __init__(self, path: Sequence[StoredMessage] = ()) -> None:
        """`path`: messages that it goes on from."""
        self._turn = threading.RLock()
        self._id = os.urandom(8).hex()
        self._messages = {message.id: message for message in path}
        self._leaf = path[-1].id if path else None
        self._last_id = path[-1].id if path else 0  # never given again, also after a deletion

    @_alone
    def start_turn(
        self,
        conversation: str | None,
        content: str,
        *,
        provenance: Provenance,
        parent: int | Literal["leaf", "root"] = "leaf",
        system: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Turn:
        del conversation, settings  # there is one
        above = self._leaf if parent == "leaf" else None if parent == "root" else parent
        if system is not None and above is None:
            above = self._add(above, "system", system)
        user = self._add(above, "user", content)
        return Turn(self._id, user, self._reply(user, provenance))

    @_alone
    def regenerate(self, message: int, provenance: Provenance) -> Turn:
        found = self.message(message)
        asked = found.parent if found.role == "assistant" else found.id
        if asked is None or found.role == "system":
            raise UsageError(f"Message {message} can't be replied to.")
        return Turn(self._id, asked, self._reply(asked, provenance))

    @_alone
    def continue_reply(self, reply: int, provenance: Provenance) -> Turn:
        found = self.message(reply)
        if found.role != "assistant" or found.parent is None:
            raise UsageError(f"Message {reply} is not a reply, so it can't be continued.")
        if any(other.parent == reply for other in self._messages.values()):
            raise UsageError(
                "The conversation went on after this reply, so it can't be continued.",
                "Ask for a new reply in its place, or continue from the last message.",
            )
        part = Generation(provenance, len(found.content), len(found.reasoning))
        self._messages[reply] = found._replace(
            state="generating", generations=(*found.generations, part)
        )
        self._leaf = reply
        return Turn(self._id, found.parent, reply)

    @_alone
    def checkpoint(self, reply: int, content: str, reasoning: str = "") -> None:
        found = self.message(reply)
        self._messages[reply] = found._replace(content=content, reasoning=reasoning)

    @_alone
    def finish(self, reply: int, content: str, reasoning: str, outcome: Outcome) -> None:
        found = self.message(reply)
        *before, last = found.generations
        ended = last._replace(
            finish_reason=outcome.finish_reason,
            seed=outcome.seed,
            usage=outcome.usage,
            timings=outcome.timings,
            trim=outcome.trim,
            error=outcome.error,
        )
        self._messages[reply] = found._replace(
            content=content,
            reasoning=reasoning,
            state=outcome.state,
            generations=(*before, ended),
        )

    @_alone
    def path(self, conversation: str, leaf: int | None = None) -> list[StoredMessage]:
        del conversation
        messages = []
        above = self._leaf if leaf is None else leaf
        while above is not None:
            messages.append(self.message(above))
            above = messages[-1].parent
        return messages[::-1]

    @_alone
    def message(self, id_: int) -> StoredMessage:
        if id_ not in self._messages:
            raise ConversationNotFound(f"There is no message {id_}.")
        return self._messages[id_]

    @_alone
    def alternatives(self, conversation: str) -> dict[int, tuple[int, ...]]:
        siblings: dict[int | None, list[int]] = {}
        for one in self._messages.values():
            siblings.setdefault(one.parent, []).append(one.id)
        found = {one.id: tuple(siblings[one.parent]) for one in self.path(conversation)}
        return {message: beside for message, beside in found.items() if len(beside) > 1}

    @_alone
    def set_leaf(self, message: int) -> int:
        self._leaf = max(self._below(message))
        return self._leaf

    @_alone
    def go_back(self, conversation: str, message: int | None) -> None:
        if message is not None:
            self._leaf = self.message(message).id
            return
        first = self.path(conversation)[:1]
        self._leaf = next((one.id for one in first if one.role == "system"), None)

    @_alone
    def delete_message(self, message: int) -> None:
        parent = self.message(message).parent
        doomed = self._below(message)
        if any(self._messages[one].state == "generating" for one in doomed):
            raise ReplyInProgress("A reply is being written there.", "Stop it first.")
        for one in doomed:
            del self._messages[one]
        if self._leaf in doomed:
            beside = [one.id for one in self._messages.values() if one.parent == parent]
            self._leaf = max(self._below(max(beside))) if beside else parent

    def _below(self, message: int) -> set[int]:
        """A message, and all that come after it."""
        below = {self.message(message).id}
        for one in self._messages.values():  # parents come before their children
            if one.parent in below:
                below.add(one.id)
        return below

    def _reply(self, asked: int, provenance: Provenance) -> int:
        return self._add(asked, "assistant", "", (Generation(provenance),))

    def _add(
        self, above: int | None, role: Role, content: str, parts: tuple[Generation, ...] = ()
    ) -> int:
        self._last_id = id_ = self._last_id + 1
        self._messages[id_] = StoredMessage(
            id_,
            self._id,
            above,
            role,
            content,
            "",
            time.time(),
            "generating" if parts else "complete",
            parts,
        )
        self._leaf = id_
        return id_
