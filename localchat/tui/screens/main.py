"""The main screen: the list of conversations, the transcript, the prompt and the status line.

It shows one chat and carries what widgets ask for to it. What a command does is in
`localchat.tui.commands`; keys run the same commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key, Resize
from textual.message import Message
from textual.screen import Screen

from localchat.config import Settings
from localchat.errors import LocalchatError, ModelNotFound, UsageError
from localchat.paths import Paths
from localchat.sanitize import clean
from localchat.store.records import StoredMessage
from localchat.tui.aside import aside
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.chats import Chats
from localchat.tui.chats.deletions import Deletion
from localchat.tui.chats.run import News
from localchat.tui.chats.settings import ChatSettings
from localchat.tui.models.downloads import Download, Downloads
from localchat.tui.screens.history_pane import HistoryPane
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.sidebar.sidebar import Sidebar
from localchat.tui.widgets.status_line import StatusLine
from localchat.tui.widgets.transcript import asked
from localchat.tui.widgets.transcript.transcript import Transcript

_NARROW = 90  # columns below which the sidebar lies over the chat
_RECALLED = 200  # prompts that Up brings back
_TWICE = 2.0  # seconds in which a second Ctrl+C means leaving
_PENDING = 0  # no stored message has this id


@dataclass(frozen=True, slots=True)
class Start:
    """What the screen opens with."""

    conversation: str | None = None
    """Whole id of a conversation to go on with."""
    is_private: bool = False
    """Whether nothing of the first chat is to be kept."""


class MainScreen(Screen[None]):
    """Shows one chat; the others go on behind it."""

    AUTO_FOCUS = "#prompt PromptArea"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Stop the reply", id="chat.stop"),
        Binding("ctrl+c", "interrupt", "Copy, stop or leave", id="chat.interrupt", priority=True),
        Binding("ctrl+d", "app.quit", "Quit, from an empty prompt", id="chat.end"),
        Binding("ctrl+n", "command('new')", "New chat", id="chat.new", priority=True),
        Binding("ctrl+r", "command('regen')", "Another reply", id="chat.regenerate", priority=True),
        Binding("ctrl+l", "command('continue')", "Go on", id="chat.continue", priority=True),
        Binding("ctrl+t", "command('think')", "Thoughts", id="chat.thinking", priority=True),
        Binding("ctrl+b", "toggle_sidebar", "Conversations", id="sidebar.toggle", priority=True),
        Binding("ctrl+f", "command('search')", "Search", id="sidebar.find", priority=True),
        Binding("ctrl+o", "command('model')", "Models", id="chat.models", priority=True),
        Binding("f1", "command('help')", "Keys", id="app.help", priority=True),
        Binding("f2", "command('settings')", "Settings", id="chat.settings", priority=True),
        Binding("f3", "command('context')", "Context", id="chat.context", priority=True),
        Binding("f4", "command('compare')", "Side by side", id="chat.compare", priority=True),
    ]

    @dataclass
    class ChatNews(Message):
        """Something has become of a chat's reply, in its thread."""

        chat: Chat
        news: News

        def can_replace(self, message: Message) -> bool:
            """What was streamed is in the chat; one look at it is enough."""
            return (
                isinstance(message, MainScreen.ChatNews)
                and message.chat is self.chat
                and self.news == message.news == "streamed"
            )

    def __init__(self, chats: Chats, settings: Settings, places: Paths, start: Start) -> None:
        super().__init__()
        self.chats = chats
        self.settings = settings
        self.places = places
        self.chat = chats.new(is_private=start.is_private)
        self._start = start
        self.downloads = Downloads(places, self._downloaded, offline=settings.offline)
        self.listeners: list[Callable[[Chat, News], None]] = []
        """Screens over this one that want to hear of replies, too."""
        self.is_loading_model = False
        self._editing: int | None = None
        self._interrupted = -_TWICE

    @property
    def prompt(self) -> Prompt:
        return self.query_one("#prompt", Prompt)

    @property
    def transcript(self) -> Transcript:
        return self.query_one("#transcript", Transcript)

    @property
    def history_pane(self) -> HistoryPane:
        return self.query_one("#sidebar", HistoryPane)

    @property
    def status_line(self) -> StatusLine:
        return self.query_one("#status", StatusLine)

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield HistoryPane(self.chats, id="sidebar")
            with Vertical(id="chat"):
                yield Transcript(id="transcript")
                yield Prompt(id="prompt")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self._show_status()
        # What takes time begins when there is something to look at.
        self.call_after_refresh(self._begin)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < _NARROW, "-narrow")

    # opening

    @work
    async def _begin(self) -> None:
        from localchat.tui.commands import TABLE

        self.prompt.commands = [Command(*one[:3]) for one in TABLE.values()]
        self.warm()
        self.history_pane.reload()
        with self.telling():
            store = await aside(self.chats.history.store)
            self.prompt.history = await aside(lambda: store.prompts(_RECALLED))
            for note in store.notes:
                self.say(note)
        if self._start.conversation is not None:
            with self.telling():
                await self.open(self._start.conversation)

    @work(exclusive=True, group="warm")
    async def warm(self) -> None:
        """Loads the chat's model while the user still thinks."""
        chat = self.chat
        self.is_loading_model = True
        self._show_status()
        with self.telling():
            try:
                await aside(chat.warm)
            except ModelNotFound:
                self.action_command("model")
                raise
            finally:
                self.is_loading_model = False
                self._show_status()

    async def open(self, conversation: str) -> None:
        """Shows a stored conversation."""
        self.show(await aside(lambda: self.chats.open(conversation)))

    # showing

    def show(self, chat: Chat) -> None:
        """Brings a chat to the screen; another one goes on behind it."""
        self.chat = chat
        self.history_pane.remove_class("-open")
        chat.is_unseen = False
        self.end_edit()
        self.show_messages()
        self.prompt.focus()

    def show_messages(self) -> None:
        """Shows what the chat is now."""
        chat = self.chat
        messages = list(chat.messages)
        if chat.pending is not None:
            messages.append(_unstored(chat.pending))
        self.transcript.show(messages, chat.alternatives, chat.live)
        self.prompt.is_busy = chat.is_busy
        self._show_status()
        self._mark_chats()

    def _show_status(self) -> None:
        chat, line, live = self.chat, self.status_line, self.chat.live
        line.phase = "loading" if self.is_loading_model and not chat.is_busy else chat.phase
        line.model = chat.settings.model
        line.quantization = chat.quantization
        line.is_private = chat.is_private
        line.context_total = chat.context or None
        line.context_used = chat.context_used if chat.context else None
        line.rate = live.tokens_per_second if live is not None else chat.last_rate
        done, total = (live.prefill if live is not None else None) or (0, 0)
        line.percent = 100 * done / total if total else None
        line.time_left = live.time_left if live is not None and total else None

    def _mark_chats(self) -> None:
        self.history_pane.mark(
            self.chat.key,
            (chat.key for chat in self.chats.busy),
            (chat.key for chat in self.chats.unseen),
        )

    def say(self, sentence: str) -> None:
        """Tells the user something that needs no answer."""
        self.notify(clean(sentence), markup=False)

    def complain(self, error: LocalchatError) -> None:
        """Tells what went wrong, and what to do."""
        hint = f"\n{clean(error.hint)}" if error.hint else ""
        self.notify(f"{clean(str(error))}{hint}", severity="error", timeout=10, markup=False)

    # the chat

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
        if self.chat.is_busy:
            raise UsageError("A reply is being written.", "Esc stops it.")

    def begin_edit(self, message: int) -> None:
        """Puts a message into the prompt; what is sent then takes its place, as a branch."""
        self.refuse_while_busy()
        found = next(one for one in self.chat.messages if one.id == message)
        self._editing = message
        self.prompt.border_title = "Editing: Enter makes a branch, Esc leaves it"
        self.prompt.load(found.content)
        self.prompt.focus()

    def end_edit(self) -> None:
        self._editing = None
        self.prompt.border_title = None

    async def go_to(self, message: int) -> None:
        """Shows the branch through a message."""
        self.refuse_while_busy()
        await aside(lambda: self.chat.show_sibling(message))
        self.show_messages()

    async def change(self, settings: ChatSettings) -> None:
        """Further turns of the chat are made with these."""
        chat = self.chat
        has_other_model = settings.model != chat.settings.model
        await aside(lambda: chat.change(settings))
        if has_other_model:
            self.warm()
        self._show_status()

    def _downloaded(self, download: Download) -> None:
        """In the thread of the download."""
        if download.error is not None:
            self.app.call_from_thread(self.complain, download.error)
        elif download.model is not None:
            self.app.call_from_thread(self.say, f"{download.model} is here: /model chooses it.")

    async def go_back(self, message: int | None) -> None:
        """Ends the conversation with a message; what followed stays, as a branch."""
        self.refuse_while_busy()
        await aside(lambda: self.chat.go_back(message))
        self.show_messages()

    async def delete(self, message: int) -> None:
        """Takes a message and what followed it out of sight; for good only a little later."""
        self.refuse_while_busy()
        chat = self.chat
        found = next(one for one in chat.messages if one.id == message)
        await self.go_back(found.parent)
        deletion = Deletion(
            "the message",
            lambda: chat.delete(message),
            lambda: chat.show_sibling(message),
        )
        self.history_pane.put_off(deletion)

    def copy(self, text: str, what: str) -> None:
        """Puts text into the clipboard, by the terminal."""
        self.app.copy_to_clipboard(text)
        self.say(f"Copied {what}.")

    @on(ChatNews)
    def _heard(self, event: ChatNews) -> None:
        chat, news = event.chat, event.news
        for hear in self.listeners:
            hear(chat, news)
        if chat is self.chat:
            if news == "streamed" and chat.live is not None:
                self.transcript.stream(chat.live)
                self._show_status()
            else:
                self.show_messages()
        elif news == "ended":
            chat.is_unseen = True
        if news == "streamed":
            return
        if news == "ended":
            self._tell_end(chat)
        self._mark_chats()
        self.history_pane.reload()

    def _tell_end(self, chat: Chat) -> None:
        run = chat.run
        assert run is not None
        said = chat.take_back()
        if said is not None and chat is self.chat and not self.prompt.text:
            self.prompt.load(said)
        if run.error is not None:
            self.complain(run.error)
        elif run.trimmed is not None:
            self.say("The conversation is longer than the context: F3 shows what was left out.")

    # commands and keys

    def action_command(self, name: str, argument: str = "") -> None:
        """Runs a command of the table."""
        self._run_command(name, argument)

    @work
    async def _run_command(self, name: str, argument: str) -> None:
        from localchat.tui.commands import TABLE

        with self.telling():
            await TABLE[name].action(self, argument)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tells the user what goes wrong."""
        try:
            yield
        except LocalchatError as error:
            self.complain(error)
        except OSError as error:
            self.complain(LocalchatError(f"The system refused: {error}."))

    def action_leave(self) -> None:
        """Esc: ends what is going on, the nearest first."""
        if self._editing is not None:
            self.end_edit()
            self.prompt.load("")
        elif self.chat.is_busy:
            self.chat.stop()
            self._show_status()
        else:
            self.prompt.focus()

    def action_interrupt(self) -> None:
        """Ctrl+C: copies what is selected, stops the reply, or clears the prompt; twice, leaves."""
        area = self.prompt.query_one(PromptArea)
        selected = self.get_selected_text() or area.selected_text
        if selected:
            self.copy(selected, "what was selected")
        elif self.chat.is_busy:
            self.chat.stop()
            self._show_status()
        elif area.text:
            area.clear()
        elif time.monotonic() - self._interrupted < _TWICE:
            self.app.exit(0)
        else:
            self._interrupted = time.monotonic()
            self.say("Ctrl+C once more leaves.")

    def action_toggle_sidebar(self) -> None:
        pane = self.history_pane
        pane.toggle_class("-open" if self.has_class("-narrow") else "-folded")
        if pane.display:
            pane.focus_list()
        else:
            self.prompt.focus()

    def on_key(self, event: Key) -> None:
        """What is typed while nothing has the focus is meant for the prompt."""
        if self.focused is None and event.is_printable and event.character:
            self.prompt.focus()
            self.prompt.query_one(PromptArea).insert(event.character)
            event.stop()

    # what widgets ask for

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        with self.telling():
            self.send(event.text)

    @on(Prompt.CommandGiven)
    def _command_given(self, event: Prompt.CommandGiven) -> None:
        self.action_command(event.name, event.argument)

    @on(asked.EditAsked)
    async def _edit_asked(self, event: asked.EditAsked) -> None:
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

    @on(asked.CopyAsked)
    def _copy_asked(self, event: asked.CopyAsked) -> None:
        self.copy(event.text, event.what)

    @on(asked.LinkChosen)
    def _link_chosen(self, event: asked.LinkChosen) -> None:
        self.copy(event.url, "the address: nothing is opened from here")

    @on(Sidebar.Chosen)
    async def _chosen(self, event: Sidebar.Chosen) -> None:
        with self.telling():
            await self.open(event.conversation)

    @on(HistoryPane.Deleted)
    def _deleted(self, event: HistoryPane.Deleted) -> None:
        if event.conversation == self.chat.key:
            self.action_command("new")

    @on(HistoryPane.Failed)
    def _failed(self, event: HistoryPane.Failed) -> None:
        self.complain(event.error)

    @on(HistoryPane.Told)
    def _told(self, event: HistoryPane.Told) -> None:
        self.say(event.sentence)

    @on(Sidebar.NewAsked)
    def _new_asked(self) -> None:
        self.action_command("new")


def _unstored(text: str) -> StoredMessage:
    return StoredMessage(_PENDING, "", None, "user", text, "", time.time(), "complete")
