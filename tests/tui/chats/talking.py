"""Chats without a screen: real history, and clients whose replies come when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.chats import Chats
from localchat.tui.chats.engines import Engine
from localchat.tui.chats.run import News
from localchat.tui.chats.settings import configured
from localchat.types import ModelRef
from tests.conftest import wait_until
from tests.tui.paced import PacedClient


class Table:
    """What the screen would hear, and who answers."""

    def __init__(self, places: Paths) -> None:
        self.heard: list[tuple[Chat, News]] = []
        self.clients = [PacedClient(), PacedClient()]
        self.before_opening: Callable[[], object] = lambda: None
        self._free = list(self.clients)
        settings = Settings()
        beginning = configured(settings, places)
        self.chats = Chats(settings, places, beginning, self._tell, self._open)

    def _tell(self, chat: Chat, news: News) -> None:
        self.heard.append((chat, news))

    def _open(self, name: str) -> Engine:
        self.before_opening()
        return Engine(self._free.pop(0), ModelRef(name, "/nowhere.gguf"), "Q4_1")

    @property
    def client(self) -> PacedClient:
        """Who answers first."""
        return self.clients[0]

    def news(self, chat: Chat) -> list[News]:
        """What was told of a chat, without how often something came."""
        return [news for of, news in self.heard if of is chat and news != "streamed"]

    def wait_for_words(self, chat: Chat) -> None:
        """Waits until some of a reply is there."""
        wait_until(lambda: chat.live and chat.live.content)

    def end(self, chat: Chat) -> None:
        """Waits for the end of a reply."""
        wait_until(lambda: not chat.is_busy and self.heard and self.heard[-1] == (chat, "ended"))

    def take_turn(self, chat: Chat, text: str = "Hello", reply: str = "Yes.") -> None:
        chat.send(text)
        self.client.give(reply)
        self.client.finish()
        self.end(chat)


def said(chat: Chat) -> list[str]:
    return [one.content for one in chat.messages]
