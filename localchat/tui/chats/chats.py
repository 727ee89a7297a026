"""All chats that are open: the one on the screen, and those whose replies go on behind it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui.chats.chat import Chat, Tell
from localchat.tui.chats.deletions import Deletions
from localchat.tui.chats.engines import Engines, Open, opener
from localchat.tui.chats.history import History
from localchat.tui.chats.settings import ChatSettings, of_conversation

_PATIENCE = 0.5  # seconds that replies get to end in, all together, when the screen is left


class Chats:
    """Opens them, and keeps those that are being answered."""

    def __init__(
        self,
        settings: Settings,
        places: Paths,
        beginning: ChatSettings,
        tell: Tell,
        open_engine: Open | None = None,
    ) -> None:
        """`beginning`: what new chats are asked with. `open_engine` stands in for real engines."""
        self.beginning = beginning
        self.engines = Engines(open_engine or opener(settings, places))
        self.history = History(places)
        self.deletions = Deletions()
        self._settings = settings
        self._places = places
        self._tell = tell
        self._open: list[Chat] = []
        self._numbers = itertools.count(1)

    def new(self, *, is_private: bool = False) -> Chat:
        """An empty chat."""
        key = f"incognito-{next(self._numbers)}" if is_private else None
        return self._keep(
            Chat(self.engines, self.history, self.beginning, self._tell, private_key=key)
        )

    def open(self, key: str) -> Chat:
        """The chat of a stored conversation, or an open one.

        Waits for the disk; raises what the store raises.
        """
        for chat in self._open:
            if chat.key == key:
                return chat
        found = self.history.store().conversation(key)
        chat = Chat(self.engines, self.history, self.beginning, self._tell, conversation=found)
        chat.load()
        chat.settings = of_conversation(
            found.settings, self._settings, self._places, chat.own_system
        )
        return self._keep(chat)

    @property
    def private(self) -> Sequence[Chat]:
        """Those of which nothing is kept, and something was said; the newest first."""
        return [chat for chat in reversed(self._open) if chat.is_private and chat.messages]

    def rename(self, conversation: str, title: str | None) -> None:
        """As `Chat.rename`, also for a conversation that is not open."""
        renamed = self.history.store().rename(conversation, title)
        for chat in self._open:
            if chat.id == conversation:
                chat.conversation = renamed

    def delete(self, key: str) -> None:
        """Deletes a conversation for good. Waits for the disk; raises what the store raises."""
        for chat in [chat for chat in self._open if chat.key == key]:
            chat.stop()
            chat.wait(_PATIENCE)
            self._open.remove(chat)
            if chat.is_private:
                return
        from localchat.store import removal  # 5 ms, after the first frame

        removal.delete(self.history.store(), [key], self._places)

    @property
    def busy(self) -> Sequence[Chat]:
        """Those that are being answered."""
        return [chat for chat in self._open if chat.is_busy]

    @property
    def unseen(self) -> Sequence[Chat]:
        """Those that were answered while they were not on the screen."""
        return [chat for chat in self._open if chat.is_unseen]

    def close(self) -> None:
        """Ends all replies, keeps what has come of them, and leaves the engines."""
        busy = self.busy
        for chat in busy:
            chat.stop()
        deadline = time.monotonic() + _PATIENCE
        for chat in busy:
            chat.wait(max(0.0, deadline - time.monotonic()))
        self.deletions.carry_out_all()
        self.history.close()
        self.engines.close()

    def _keep(self, chat: Chat) -> Chat:
        self._open = [
            one
            for one in self._open
            if one.is_busy or one.is_unseen or (one.is_private and one.messages)
        ]
        self._open.append(chat)
        return chat
