"""The sidebar and the history behind it: listing, searching, renaming, deleting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from localchat.store.records import Conversation, Hit
from localchat.tui.aside import aside
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.chats import Chats
from localchat.tui.chats.deletions import Deletion
from localchat.tui.screens.leaving import EndsWorkers
from localchat.tui.screens.telling import Telling
from localchat.tui.widgets.sidebar.sidebar import Sidebar

_PAGE = 100  # conversations that are read at once
_HITS = 50
_TYPING = 0.1  # seconds without a key after which is searched
DELETION_DELAY = 8.0
"""Seconds in which a deletion can be undone."""


class HistoryPane(Vertical, Telling, EndsWorkers):
    """Lets `Sidebar.Chosen` and `Sidebar.NewAsked` through; the rest is done here."""

    @dataclass
    class Deleted(Message):
        """A conversation is out of the list."""

        conversation: str

    @dataclass
    class Changed(Message):
        """What the chat on the screen shows may have changed."""

    def __init__(self, chats: Chats, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._chats = chats
        self._listed: list[Conversation] = []
        self._has_more = False
        self._hidden: set[str] = set()
        self._searched = ""
        self._hits: list[Hit] = []
        self._found: list[Hit] | None = None  # those of the hits that are shown
        self._sidebar = Sidebar()

    def compose(self) -> ComposeResult:
        yield self._sidebar

    def focus_list(self) -> None:
        self._sidebar.focus_list()

    async def search(self, text: str = "") -> None:
        """Gives the search the focus, with words to begin with."""
        await self._sidebar.search_for(text)

    def mark(
        self, current: str | None, running: Iterable[str | None], finished: Iterable[str | None]
    ) -> None:
        """Which conversation is on the screen, being answered, or answered unseen."""
        self._sidebar.current = current
        self._sidebar.running = frozenset(id_ for id_ in running if id_)
        self._sidebar.finished = frozenset(id_ for id_ in finished if id_)

    # reading

    @work(exclusive=True, group="list")
    async def reload(self) -> None:
        """Reads the list anew, as far as it was shown."""
        count = max(_PAGE, len(self._listed))
        with self.telling():
            found = await aside(lambda: self._chats.history.store().newest(count))
            self._show([one.conversation for one in found], has_more=len(found) == count)

    @on(Sidebar.MoreAsked)
    def _more_asked(self, event: Sidebar.MoreAsked) -> None:
        event.stop()
        self._read_more()

    @work(exclusive=True, group="list")
    async def _read_more(self) -> None:
        after = self._listed[-1] if self._listed else None
        with self.telling():
            found = await aside(lambda: self._chats.history.store().newest(_PAGE, after))
            listed = [*self._listed, *(one.conversation for one in found)]
            self._show(listed, has_more=len(found) == _PAGE)

    def _show(self, listed: list[Conversation], *, has_more: bool) -> None:
        self._listed, self._has_more = listed, has_more
        private = [_listed(chat) for chat in self._chats.private]
        shown = [one for one in (*private, *listed) if one.id not in self._hidden]
        self._sidebar.show(shown, has_more=has_more)

    @on(Sidebar.SearchChanged)
    def _search_changed(self, event: Sidebar.SearchChanged) -> None:
        event.stop()
        self._searched = event.text
        self._search(event.text)

    @work(exclusive=True, group="search")
    async def _search(self, text: str) -> None:
        await asyncio.sleep(_TYPING)
        with self.telling():
            self._hits, self._found = await aside(lambda: self._find(text)), None
            self._show_hits()

    def _show_hits(self) -> None:
        """Those that are not deleted; what is shown already stays, and the cursor in it."""
        found = [hit for hit in self._hits if hit.conversation.id not in self._hidden]
        if found != self._found:
            self._found = found
            self._sidebar.show_hits(self._searched, found)

    def _find(self, text: str) -> list[Hit]:
        return self._chats.history.store().search(text, _HITS, is_complete=False)

    # changing

    @on(Sidebar.Renamed)
    def _renamed(self, event: Sidebar.Renamed) -> None:
        event.stop()
        if any(chat.key == event.conversation for chat in self._chats.private):
            self.say("Nothing of that chat is kept, so it keeps no title.")
            self._show(self._listed, has_more=self._has_more)
            return
        self._rename(event.conversation, event.title)

    @work
    async def _rename(self, conversation: str, title: str) -> None:
        with self.telling():
            await aside(lambda: self._chats.rename(conversation, title or None))
        self.post_message(self.Changed())
        self.reload()

    @on(Sidebar.DeleteAsked)
    def _delete(self, event: Sidebar.DeleteAsked) -> None:
        event.stop()
        conversation = event.conversation
        known = [*self._listed, *map(_listed, self._chats.private)]
        known += (hit.conversation for hit in self._hits)
        title = next((one.title for one in known if one.id == conversation), "")
        deletion = Deletion(
            f"the chat “{title}”",
            lambda: self._chats.delete(conversation),
            lambda: self._hidden.discard(conversation),
        )
        self._hidden.add(conversation)
        self._show(self._listed, has_more=self._has_more)
        self._show_hits()
        self.put_off(deletion)
        self.post_message(self.Deleted(conversation))

    def put_off(self, deletion: Deletion) -> None:
        """Deletes it for good in some seconds."""
        self._chats.deletions.add(deletion)
        self.set_timer(DELETION_DELAY, lambda: self._carry_out(deletion))
        self.say(f"Deleted {deletion.what}. Ctrl+Z brings it back.")

    @work
    async def _carry_out(self, deletion: Deletion) -> None:
        with self.telling():
            await aside(lambda: self._chats.deletions.carry_out(deletion))
        self._show_hits()
        self.post_message(self.Changed())
        self.reload()

    @work
    async def undo_deletion(self) -> None:
        """Brings back what was deleted last."""
        with self.telling():
            deletion = await aside(self._chats.deletions.undo)
            if deletion is None:
                self.say("There is no deletion to undo.")
                return
            self.say(f"Brought back {deletion.what}.")
        self._show_hits()
        self.post_message(self.Changed())
        self.reload()


def _listed(chat: Chat) -> Conversation:
    """A private chat as it stands in the list, as long as the screen is open."""
    now = time.time()
    assert chat.key is not None
    return Conversation(chat.key, f"Incognito: {chat.title}", False, now, now, None, {})
