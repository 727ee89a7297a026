"""The chat on the screen: its transcript, the prompt below, and what is asked for in either."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer

from localchat.errors import UsageError
from localchat.paths import Paths
from localchat.store.records import StoredMessage
from localchat.tui.aside import aside
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.deletions import Deletion
from localchat.tui.chats.live import Live
from localchat.tui.remembered import Remembered
from localchat.tui.screens.telling import Telling
from localchat.tui.widgets.prompt import editor
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.transcript import asked
from localchat.tui.widgets.transcript.transcript import Transcript

_PENDING = 0  # no stored message has this id
_DRAFT_DELAY = 0.5  # seconds after the last key until what is typed is on the disk
_NEW = ""  # whose draft that of a chat is that has not begun


class ChatPane(Vertical, Telling):
    """Carries what is asked for to the chat, and shows what becomes of it."""

    @dataclass
    class Shown(Message):
        """Another chat is shown, or another state of it."""

    @dataclass
    class DeletionAsked(Message):
        """To be carried out a little later."""

        deletion: Deletion

    def __init__(self, chat: Chat, remembered: Remembered, places: Paths, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self.chat = chat
        self._remembered = remembered
        self._places = places
        self._editing: int | None = None
        self._typed = ""
        self._saving: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Transcript(id="transcript")
        yield Prompt(id="prompt")

    @property
    def transcript(self) -> Transcript:
        return self.query_one("#transcript", Transcript)

    @property
    def prompt(self) -> Prompt:
        return self.query_one("#prompt", Prompt)

    def on_mount(self) -> None:
        self._load_draft()

    def on_unmount(self) -> None:
        self._keep_draft()

    # showing

    def show(self, chat: Chat) -> None:
        """Brings a chat here; what was typed for the one before waits until it is back."""
        self.end_edit()
        self._keep_draft()
        self.chat = chat
        chat.is_unseen = False
        self._load_draft()
        self.prompt.focus()
        self.show_messages()

    def show_messages(self) -> None:
        """Shows what the chat is now."""
        chat = self.chat
        messages = list(chat.messages)
        if chat.pending is not None:
            messages.append(_unstored(chat.pending))
        self.transcript.show(messages, chat.alternatives, chat.live)
        self.prompt.is_busy = chat.is_busy
        self.post_message(self.Shown())

    def stream(self, live: Live) -> None:
        self.transcript.stream(live)

    def end_reply(self) -> None:
        """Gives back to the prompt what no word came of."""
        said = self.chat.take_back()
        if said is not None and not self.prompt.text:
            self.prompt.load(said)

    # asking

    def send(self, text: str) -> None:
        """Goes on with what the user says, or with what they wrote anew."""
        edited = self._editing
        if edited is None:
            self.ask(lambda chat: chat.send(text))
        else:
            self.ask(lambda chat: chat.edit(edited, text))
        self.end_edit()

    def ask(self, begin: Callable[[Chat], None]) -> None:
        """Has the chat begin a reply. Raises UsageError while another one is being written."""
        self.refuse_while_busy()
        begin(self.chat)
        self.show_messages()

    def refuse_while_busy(self) -> None:
        """Raises UsageError while a reply is being written."""
        _refuse_while_busy(self.chat)

    def begin_edit(self, message: int) -> None:
        """Puts a message into the prompt; what is sent then takes its place, as a branch."""
        self.refuse_while_busy()
        self._keep_draft()
        found = next(one for one in self.chat.messages if one.id == message)
        self._editing = message
        self.prompt.border_title = "Editing: Enter makes a branch, Esc leaves it"
        self.prompt.load(found.content)
        self.prompt.focus()

    def end_edit(self) -> bool:
        """Whether there was something to end; the draft is back then."""
        if self._editing is None:
            return False
        self._editing = None
        self.prompt.border_title = None
        self._load_draft()
        return True

    async def go_to(self, message: int) -> None:
        """Shows the branch through a message."""
        self.refuse_while_busy()
        chat = self.chat
        await aside(lambda: chat.show_sibling(message))
        self.show_messages()

    async def look_at(self, message: int) -> None:
        """Chooses a message, on whatever branch it is, and gives it to read."""
        if all(one.id != message for one in self.chat.messages):
            await self.go_to(message)
        self.transcript.look_at(message)
        self.transcript.focus()

    async def go_back(self, message: int | None) -> None:
        """Ends the conversation with a message; what followed stays, as a branch."""
        self.refuse_while_busy()
        chat = self.chat
        await aside(lambda: chat.go_back(message))
        self.show_messages()

    async def delete(self, message: int) -> None:
        """Takes a message and what followed it out of sight; for good only a little later."""
        chat = self.chat
        found = next(one for one in chat.messages if one.id == message)
        await self.go_back(found.parent)
        self.post_message(
            self.DeletionAsked(
                Deletion(
                    "the message",
                    lambda: chat.delete(message),
                    lambda: _bring_back(chat, message),
                )
            )
        )

    # drafts

    def _load_draft(self) -> None:
        chat = self.chat
        self._typed = "" if chat.is_private else self._remembered.draft(chat.id or _NEW)
        self.prompt.load(self._typed)

    @on(Prompt.Changed)
    def _changed(self, event: Prompt.Changed) -> None:
        self._typed = event.text
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.set_timer(_DRAFT_DELAY, self._save_draft)

    def _keep_draft(self) -> None:
        """What is typed, or sent and not stored yet: a process that is killed loses neither."""
        if self.chat.is_private or self._editing is not None:
            return
        text = self._typed or self.chat.pending or ""
        self._remembered.keep_draft(self.chat.id or _NEW, text)

    @work(thread=True, exclusive=True, group="draft")
    def _write_draft(self) -> None:
        with self.telling():
            self._remembered.save()

    def _save_draft(self) -> None:
        self._keep_draft()
        if self._remembered.has_unsaved:
            self._write_draft()

    def begun(self, chat: Chat) -> None:
        """A turn of a chat is stored: it is no draft any more."""
        if not chat.is_private and (chat is not self.chat or not self._typed):
            self._remembered.keep_draft(chat.id or _NEW, "")
            self._remembered.keep_draft(_NEW, "")
            self._write_draft()

    # what widgets ask for

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        with self.telling():
            self.send(event.text)
        self._save_draft()

    @on(Prompt.EditorAsked)
    def _editor_asked(self, event: Prompt.EditorAsked) -> None:
        with self.telling():
            with self.app.suspend():
                written = editor.edit(event.text, self._places.runtime)
            self.prompt.load(written)

    @on(asked.EditAsked)
    def _edit_asked(self, event: asked.EditAsked) -> None:
        with self.telling():
            self.begin_edit(event.message_id)

    @on(asked.RegenerateAsked)
    def _regenerate_asked(self, event: asked.RegenerateAsked) -> None:
        with self.telling():
            self.ask(lambda chat: chat.regenerate(event.message_id))

    @on(asked.ContinueAsked)
    def _continue_asked(self, event: asked.ContinueAsked) -> None:
        with self.telling():
            self.ask(lambda chat: chat.continue_reply(event.message_id))

    @on(asked.SiblingAsked)
    async def _sibling_asked(self, event: asked.SiblingAsked) -> None:
        with self.telling():
            await self.go_to(event.message_id)

    @on(asked.BranchAsked)
    async def _branch_asked(self, event: asked.BranchAsked) -> None:
        with self.telling():
            await self.go_back(event.message_id)
            self.prompt.focus()

    @on(asked.DeleteAsked)
    async def _delete_asked(self, event: asked.DeleteAsked) -> None:
        with self.telling():
            await self.delete(event.message_id)

    # keys

    def clear(self) -> bool:
        """Empties the prompt, which undo brings back; whether there was something in it."""
        area = self.prompt.query_one(PromptArea)
        had = bool(area.text)
        area.clear()
        return had

    def insert(self, text: str) -> None:
        """Types into the prompt."""
        self.prompt.focus()
        self.prompt.query_one(PromptArea).insert(text)

    @property
    def selected(self) -> str:
        """What is selected in the transcript or in the prompt."""
        found = self.screen.get_selected_text()
        return found or self.prompt.query_one(PromptArea).selected_text


def _bring_back(chat: Chat, message: int) -> None:
    _refuse_while_busy(chat)
    chat.show_sibling(message)


def _refuse_while_busy(chat: Chat) -> None:
    if chat.is_busy:
        raise UsageError("A reply is being written.", "Esc stops it.")


def _unstored(text: str) -> StoredMessage:
    return StoredMessage(_PENDING, "", None, "user", text, "", time.time(), "complete")
