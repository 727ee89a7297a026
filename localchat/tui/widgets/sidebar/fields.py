"""The fields of the sidebar, made when they are first wanted: Input takes 12 ms to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input
from textual.widgets.input import Selection


class SearchField(Input):
    """Words to search for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "go_down", "To the list", id="sidebar.to_list", show=False),
    ]

    @dataclass
    class WentDown(Message):
        """The user goes on in the list."""

    @dataclass
    class Edited(Message):
        """Its words are others now."""

        text: str

    def __init__(self) -> None:
        super().__init__(placeholder="search", compact=True)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Edited(event.value.strip()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.WentDown())

    def action_go_down(self) -> None:
        self.post_message(self.WentDown())


class TitleField(Input):
    """The title of a conversation, in the place of its row."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="sidebar.cancel_rename"),
    ]

    @dataclass
    class Done(Message):
        """`title` is None if it is to stay as it is."""

        conversation: str
        title: str | None

    def __init__(self, conversation: str, title: str) -> None:
        super().__init__(title, compact=True, select_on_focus=False)
        self.selection = Selection(len(title), 0)  # all of it, and its beginning is seen
        self._conversation = conversation
        self._title = title
        self._is_done = False

    def action_leave(self) -> None:
        self._finish(None)

    async def action_submit(self) -> None:
        self._finish(None if self.value == self._title else self.value)

    def on_blur(self) -> None:
        self._finish(None)

    def _finish(self, title: str | None) -> None:
        """Once: the field is left, too, when it is taken away."""
        if not self._is_done:
            self._is_done = True
            self.post_message(self.Done(self._conversation, title))
