"""Puts the application together, for the command and for tests."""

from __future__ import annotations

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui import pastes
from localchat.tui.app import ChatApp
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.chats import Chats
from localchat.tui.chats.engines import Open
from localchat.tui.chats.run import News
from localchat.tui.chats.settings import ChatSettings
from localchat.tui.keys import check
from localchat.tui.screens.main import Start


def make_app(
    settings: Settings,
    places: Paths,
    beginning: ChatSettings,
    start: Start | None = None,
    *,
    open_engine: Open | None = None,
) -> ChatApp:
    """The application. `beginning` is what new chats are asked with.

    `open_engine` stands in for finding and starting real engines. Raises ConfigError for keys that
    can't be.
    """

    def tell(chat: Chat, news: News) -> None:
        app.tell(chat, news)

    chats = Chats(settings, places, beginning, tell, open_engine)
    app = ChatApp(chats, settings, places, start or Start())
    if settings.keys:
        app.set_keymap(check(settings.keys))
    return app


def run(app: ChatApp) -> int:
    """Shows the application until it is left; its exit code."""
    pastes.take_whole()
    try:
        code = app.run()
    finally:
        app.close()
    return code or 0
