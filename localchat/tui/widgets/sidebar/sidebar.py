"""The conversations at the side of the chat screen: by day, or what a search for words finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from localchat.store.records import Conversation, Hit
from localchat.tui.widgets.sidebar.listing import Listing
from localchat.tui.widgets.sidebar.rows import by_day, found

if TYPE_CHECKING:
    from localchat.tui.widgets.sidebar.fields import SearchField, TitleField

_TITLES = 2  # cells before the titles, less one of the field's own
_EMPTY = "No conversations yet. Each one that you begin is kept here."
_NOT_FOUND = "Nothing was found."


class Sidebar(Vertical):
    """Shows what it is given; what the user wants is posted."""

    DEFAULT_CSS = """
    Sidebar {
        width: 30;
        background: $surface;
        border-right: solid $foreground 15%;
        &:ansi { background: ansi_default; border-right: solid ansi_bright_black; }
        layers: default above;
        & > #sidebar-hint { height: 1; padding: 0 1; margin: 0 0 1 0; color: $text-muted; }
        & > SearchField.-textual-compact {
            padding: 0 1;
            margin: 0 0 1 0;
            background: transparent;
        }
        & > TitleField.-textual-compact {
            layer: above;
            position: absolute;
            padding: 0 1;
            background: $panel;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="sidebar.search"),
        Binding("escape", "clear_search", "Clear the search", id="sidebar.clear_search"),
        Binding("n", "new", "New chat", id="sidebar.new"),
        Binding("r", "rename", "Rename", id="sidebar.rename"),
        Binding("d,delete", "delete", "Delete", id="sidebar.delete"),
    ]

    running: reactive[frozenset[str]] = reactive(frozenset[str]())
    """Ids of conversations whose reply is being written."""
    finished: reactive[frozenset[str]] = reactive(frozenset[str]())
    """Ids of those whose reply has come to its end and was not looked at yet."""
    current: reactive[str | None] = reactive[str | None](None)
    """Id of the conversation on the screen."""

    @dataclass
    class Chosen(Message):
        """A conversation is to be shown."""

        conversation: str
        message: int | None
        """The message that was searched for."""

    @dataclass
    class SearchChanged(Message):
        """Other words are searched for; empty: none, the sidebar shows all conversations again."""

        text: str

    @dataclass
    class NewAsked(Message):
        """A new conversation is to begin."""

    @dataclass
    class Renamed(Message):
        """A conversation has another title; empty: the one from its first message."""

        conversation: str
        title: str

    @dataclass
    class DeleteAsked(Message):
        """A conversation is to be deleted."""

        conversation: str

    @dataclass
    class MoreAsked(Message):
        """The end of what was shown is near, and there is more."""

        after: Conversation

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._hint = Static(Content("/ search"), id="sidebar-hint")
        self._listing = Listing(_EMPTY)
        self._conversations: Sequence[Conversation] = ()
        self._has_more = False
        self._searched = ""

    def compose(self) -> ComposeResult:
        yield self._hint
        yield self._listing

    # what is shown

    def show(self, conversations: Sequence[Conversation], *, has_more: bool = False) -> None:
        """Shows conversations, newest first; `has_more` if the store has older ones."""
        self._conversations = conversations
        self._has_more = has_more
        if not self._searched:
            self._show_all()

    def show_hits(self, text: str, hits: Sequence[Hit]) -> None:
        """Shows what was found for `text`, if that is still what is searched for."""
        if text and text == self._searched:
            self._listing.empty = _NOT_FOUND
            self._listing.show(found(hits), from_top=True)

    def focus_list(self) -> None:
        """Gives the list the focus, with the cursor on the current conversation."""
        self._listing.point_at(self.current)
        self._listing.focus()

    def _show_all(self, *, from_top: bool = False) -> None:
        self._listing.empty = _EMPTY
        self._listing.show(by_day(self._conversations, date.today()), from_top=from_top)

    def watch_running(self, running: frozenset[str]) -> None:
        self._listing.running = running

    def watch_finished(self, finished: frozenset[str]) -> None:
        self._listing.finished = finished

    def watch_current(self, current: str | None) -> None:
        self._listing.current = current

    @on(Listing.EndNear)
    def _ask_for_more(self, event: Listing.EndNear) -> None:
        event.stop()
        if self._has_more and self._conversations and not self._searched:
            self.post_message(self.MoreAsked(self._conversations[-1]))

    # searching

    async def search_for(self, text: str = "") -> None:
        """Gives the search the focus; words that are given take the place of those in it."""
        from localchat.tui.widgets.sidebar.fields import SearchField

        if not self.query(SearchField):
            await self.mount(SearchField(), before=self._listing)
            self._hint.display = False
        field = self.query_one(SearchField)
        if text:
            field.value = text
        field.focus()

    async def action_search(self) -> None:
        await self.search_for()

    @on(Click, "#sidebar-hint")
    async def _search_by_mouse(self) -> None:
        await self.search_for()

    def on_search_field_edited(self, event: SearchField.Edited) -> None:
        event.stop()
        self._search(event.text)

    async def action_clear_search(self) -> None:
        self._listing.focus()
        await self.query("SearchField").remove()
        self._hint.display = True
        self._search("")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without a search its key is for others."""
        return action != "clear_search" or not self._hint.display

    def on_search_field_went_down(self, event: SearchField.WentDown) -> None:
        event.stop()
        self._listing.focus()

    @on(Listing.Passed)
    def _up_to_search(self, event: Listing.Passed) -> None:
        event.stop()
        self.query("SearchField").focus()

    def _search(self, text: str) -> None:
        if text == self._searched:
            return
        self._searched = text
        if not text:
            self._show_all(from_top=True)
        self.post_message(self.SearchChanged(text))

    # what keys do with the conversation under the cursor

    @on(Listing.Picked)
    def _choose(self, event: Listing.Picked) -> None:
        event.stop()
        self.post_message(self.Chosen(event.choice.conversation, event.choice.message))

    def action_new(self) -> None:
        self.post_message(self.NewAsked())

    def action_delete(self) -> None:
        if (choice := self._listing.chosen) is not None:
            self.post_message(self.DeleteAsked(choice.conversation))

    async def action_rename(self) -> None:
        choice = self._listing.chosen
        if choice is None:
            return
        from localchat.tui.widgets.sidebar.fields import TitleField

        field = TitleField(choice.conversation, choice.title)
        line = self._listing.region.y - self.content_region.y + self._listing.line_of(choice)
        field.styles.offset = (_TITLES, line)
        field.styles.width = max(self._listing.content_size.width - _TITLES, 1)
        await self.mount(field)
        field.focus()

    async def on_title_field_done(self, event: TitleField.Done) -> None:
        event.stop()
        field = self.query_one("TitleField")
        had_focus = self.screen.focused is field
        await field.remove()
        if had_focus:
            self._listing.focus()
        if event.title is not None:
            self.post_message(self.Renamed(event.conversation, event.title))
