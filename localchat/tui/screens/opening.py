"""The first frame: what the main screen will look like, while its parts are imported.

That takes as long as Textual's own start. What is typed meanwhile is for the main screen's prompt.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key, Paste, Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

NARROW = 90
"""Columns below which the list of conversations lies over the chat."""


class OpeningScreen(Screen[None]):
    """`keys` are the keys and pastes that came before there was a prompt."""

    def __init__(self, *, is_folded: bool) -> None:
        super().__init__()
        self.keys: list[Message] = []
        self._is_folded = is_folded

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield Static(id="sidebar", classes="opening")
            with Vertical(id="chat"):
                yield Static(id="transcript")
                yield Static(Content("Ask anything"), id="opening-prompt")
        yield Static(id="opening-status")

    def on_mount(self) -> None:
        self.query_one("#sidebar").set_class(self._is_folded, "-folded")

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < NARROW, "-narrow")

    def on_key(self, event: Key) -> None:
        self.keys.append(event)

    def on_paste(self, event: Paste) -> None:
        self.keys.append(event)
