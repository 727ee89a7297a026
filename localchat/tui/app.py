"""The application: what it is begun with, its keys and themes, and how it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import Theme

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.sanitize import clean
from localchat.tui import themes
from localchat.tui.aside import aside
from localchat.tui.harmless import Harmless
from localchat.tui.remembered import Remembered
from localchat.tui.screens.opening import OpeningScreen

if TYPE_CHECKING:
    from localchat.tui.chats.chat import Chat
    from localchat.tui.chats.run import News
    from localchat.tui.screens.main import MainScreen
    from localchat.tui.widgets.transcript import asked

Prepare = Callable[[], Callable[["ChatApp"], "MainScreen"]]
"""Imports what the main screen is made of; what it returns makes it."""

_PATIENCE = 0.2  # seconds that downloads get to stop
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def _palette() -> type[Provider]:
    from localchat.tui.commands.palette import CommandProvider  # when it is first opened

    return CommandProvider


class ChatApp(App[int]):
    """Returns an exit code."""

    TITLE = "localchat"
    CSS_PATH = "app.tcss"
    COMMANDS: ClassVar = {_palette}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", id="app.quit", priority=True),
    ]

    def __init__(self, prepare: Prepare, places: Paths) -> None:
        """`prepare` is called in a thread, after the first frame."""
        # It is asked here once how colours are left out: else by greys, which are black on black
        # where the theme has the terminal's own colours.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self.main: MainScreen | None = None
        """None until its parts are imported."""
        self.when_open: Callable[[], object] | None = None
        """Called once when the main screen is there."""
        self.remembered = Remembered(places.state)
        self._prepare = prepare
        self._harmless = Harmless()
        for theme in themes.THEMES:
            self.register_theme(theme)
        background = os.environ.get("COLORFGBG", "")
        suited = themes.suited(self.console.color_system, self.no_color, background)
        chosen = self.remembered.theme
        self.theme = chosen if chosen in self.available_themes else suited

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._harmless]

    def get_default_screen(self) -> Screen[None]:
        return OpeningScreen(is_folded=self.remembered.is_sidebar_folded)

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        self.call_after_refresh(self._open_main)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self._leave_for, number)

    def on_copy_asked(self, event: asked.CopyAsked) -> None:
        """By the terminal itself, and only when somebody asks for it."""
        self.copy_to_clipboard(event.text)
        self.notify(clean(f"Copied {event.what}."), markup=False)

    def on_link_chosen(self, event: asked.LinkChosen) -> None:
        """Nothing is opened from here: what a browser asks for leaves the machine."""
        self.copy_to_clipboard(event.url)
        self.notify(clean(f"Copied the address {event.url}"), markup=False)

    @work
    async def _open_main(self) -> None:
        """Brings the main screen, and what was typed before it was there."""
        build = await aside(self._prepare)
        self.main = main = build(self)
        opening = self.screen
        await self.push_screen(main)  # Textual's first screen can't be switched
        if isinstance(opening, OpeningScreen):
            main.take_keys(opening.keys)
        if self.when_open is not None:
            self.when_open()

    def _keep_theme(self, theme: Theme) -> None:
        self.remembered.theme = theme.name

    def tell(self, chat: Chat, news: News) -> None:
        """May be called in any thread."""
        if self.main is not None:
            self.main.hear(chat, news)

    def close(self) -> None:
        """Ends what goes on, and keeps it; after the terminal has been given back."""
        if self.main is not None:
            self.main.downloads.close(_PATIENCE)
            self.main.chats.close()
        with contextlib.suppress(OSError, LocalchatError):  # it is a convenience
            self.remembered.save()

    async def action_quit(self) -> None:
        self.exit(0)

    def _leave_for(self, number: int) -> None:
        self.exit(128 + number)
