"""A conversation that is kept in memory alone: nothing of it is ever written."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from localchat.errors import ConversationNotFound, UsageError
from localchat.store.records import Generation, Outcome, Provenance, StoredMessage, Turn
from localchat.types import Role


class Ephemeral:
    """Does for one conversation what a `localchat.store.store.Store` does for all."""

    def __init__(self, path: Sequence[StoredMessage] = ()) -> None:
        """`path`: messages that it goes on from."""
        self._id = os.urandom(8).hex()
        self._messages = {message.id: message for message in path}
        self._leaf = path[-1].id if path else None

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

    def regenerate(self, message: int, provenance: Provenance) -> Turn:
        found = self.message(message)
        asked = found.parent if found.role == "assistant" else found.id
        if asked is None or found.role == "system":
            raise UsageError(f"Message {message} can't be replied to.")
        return Turn(self._id, asked, self._reply(asked, provenance))

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

    def checkpoint(self, reply: int, content: str, reasoning: str = "") -> None:
        found = self.message(reply)
        self._messages[reply] = found._replace(content=content, reasoning=reasoning)

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

    def path(self, conversation: str, leaf: int | None = None) -> list[StoredMessage]:
        del conversation
        messages = []
        above = self._leaf if leaf is None else leaf
        while above is not None:
            messages.append(self.message(above))
            above = messages[-1].parent
        return messages[::-1]

    def message(self, id_: int) -> StoredMessage:
        if id_ not in self._messages:
            raise ConversationNotFound(f"There is no message {id_}.")
        return self._messages[id_]

    def set_leaf(self, message: int) -> int:
        self._leaf = self.message(message).id
        while below := [one.id for one in self._messages.values() if one.parent == self._leaf]:
            self._leaf = max(below)
        return self._leaf

    def _reply(self, asked: int, provenance: Provenance) -> int:
        return self._add(asked, "assistant", "", (Generation(provenance),))

    def _add(
        self, above: int | None, role: Role, content: str, parts: tuple[Generation, ...] = ()
    ) -> int:
        id_ = max(self._messages, default=0) + 1
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
