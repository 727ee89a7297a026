"""The messages of one conversation by what is above and below them."""

from __future__ import annotations

from collections.abc import Sequence

from localchat.store.records import StoredMessage


class Tree:
    """Of all its messages, as `Store.tree` gives them."""

    def __init__(self, messages: Sequence[StoredMessage]) -> None:
        self.messages = {message.id: message for message in messages}
        """By id, oldest first."""
        self._below: dict[int | None, list[StoredMessage]] = {}
        self._places: dict[int, int] = {}
        for message in messages:
            siblings = self._below.setdefault(message.parent, [])
            siblings.append(message)
            self._places[message.id] = len(siblings)

    def below(self, id_: int | None) -> list[StoredMessage]:
        """What follows a message, oldest first; None: the roots."""
        return self._below.get(id_, [])

    def path(self, leaf: int | None) -> list[StoredMessage]:
        """From the root to `leaf`."""
        found = []
        message = self.messages.get(leaf) if leaf is not None else None
        while message is not None:
            found.append(message)
            message = None if message.parent is None else self.messages.get(message.parent)
        return found[::-1]

    def place(self, message: StoredMessage) -> tuple[int, int]:
        """Which of how many alternatives it is, from 1."""
        return self._places[message.id], len(self.below(message.parent))

    def branch(self, message: StoredMessage) -> str:
        """The same in words; empty where there is but one."""
        place, number = self.place(message)
        return f"branch {place} of {number}" if number > 1 else ""
