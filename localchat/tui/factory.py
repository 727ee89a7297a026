"""Puts the application together, for the command and for tests."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui.app import ChatApp
from localchat.tui.start import Start

if TYPE_CHECKING:
    from localchat.tui.chats.engines import Open
    from localchat.tui.chats.settings import ChatSettings
    from localchat.tui.screens.main import MainScreen


def make_app(
    settings: Settings,
    places: Paths,
    beginning: ChatSettings | None = None,
    start: Start = Start(),  # noqa: B008 - a value
    *,
    open_engine: Open | None = None,
) -> ChatApp:
    """The application.

    `beginning` is what new chats are asked with; None: as the settings have it. `open_engine`
    stands in for finding and starting real engines. Raises ConfigError for keys that can't be.
    """

    def prepare() -> Callable[[ChatApp], MainScreen]:
        from localchat.tui.chats.chats import Chats
        from localchat.tui.chats.settings import configured
        from localchat.tui.screens.main import MainScreen

        asked = beginning or configured(settings, places)
        chats = Chats(settings, places, asked, app.tell, open_engine)
        return lambda app: MainScreen(chats, settings, places, start, app.remembered)

    app = ChatApp(prepare, places)
    if settings.keys:
        from localchat.tui.keys import check  # it imports all that has keys

        app.set_keymap(check(settings.keys))
    return app


def run(app: ChatApp) -> int:
    """Shows the application until it is left; its exit code."""
    from localchat.tui import pastes

    pastes.take_whole()
    # What is there then stays. To look all of it through for garbage held keys up for 0.1 s.
    app.when_open = gc.freeze
    try:
        code = app.run()
    finally:
        app.close()
    return code or 0
