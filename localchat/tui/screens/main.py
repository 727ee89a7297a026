"""The main screen: the list of conversations, the transcript, the prompt and the status line.

It shows one chat and carries what widgets ask for to it. What a command does is in
`localchat.tui.commands`; keys run the same commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Key, Resize
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from localchat.config import Settings
from localchat.errors import EngineDied, ModelNotFound
from localchat.paths import Paths
from localchat.sanitize import clean
from localchat.tui.aside import aside
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.chats import Chats
from localchat.tui.chats.run import News
from localchat.tui.chats.settings import ChatSettings
from localchat.tui.models.downloads import Download, Downloads
from localchat.tui.remembered import Remembered
from localchat.tui.screens.chat_pane import ChatPane
from localchat.tui.screens.history_pane import HistoryPane
from localchat.tui.screens.leaving import EndsWorkers
from localchat.tui.screens.opening import NARROW
from localchat.tui.screens.telling import Failed, Telling, Told
from localchat.tui.start import Start
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.sidebar.sidebar import Sidebar
from localchat.tui.widgets.status_line import StatusLine
from localchat.tui.widgets.transcript import asked

_RECALLED = 200  # prompts that Up brings back
_READABLE = 0.25  # seconds that a number stays
_TWICE = 2.0  # seconds in which a second Ctrl+C means leaving


class MainScreen(Screen[None], Telling, EndsWorkers):
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
        Binding("ctrl+z", "undo_deletion", "Undo a deletion", id="chat.undo"),
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

    def __init__(
        self,
        chats: Chats,
        settings: Settings,
        places: Paths,
        start: Start,
        remembered: Remembered,
    ) -> None:
        super().__init__()
        self.chats = chats
        self.settings = settings
        self.places = places
        self.remembered = remembered
        self._first = chats.new(is_private=start.is_private)
        self._start = start
        self.downloads = Downloads(places, self._downloaded, offline=settings.offline)
        self.listeners: list[Callable[[Chat, News], None]] = []
        """Screens over this one that want to hear of replies, too."""
        self.is_loading_model = True
        self._interrupted = -_TWICE
        self._counting: Timer | None = None

    @property
    def chat(self) -> Chat:
        """The one on the screen."""
        return self.chat_pane.chat

    @property
    def chat_pane(self) -> ChatPane:
        return self.query_one("#chat", ChatPane)

    @property
    def history_pane(self) -> HistoryPane:
        return self.query_one("#sidebar", HistoryPane)

    @property
    def status_line(self) -> StatusLine:
        return self.query_one("#status", StatusLine)

    def compose(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield HistoryPane(self.chats, id="sidebar")
            yield ChatPane(self._first, self.remembered, self.places, id="chat")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self.status_line.hint = "F1 help"
        self.history_pane.set_class(self.remembered.is_sidebar_folded, "-folded")
        self._show_status()
        # What takes time begins when there is something to look at.
        self.call_after_refresh(self._begin)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < NARROW, "-narrow")

    # opening

    @work
    async def _begin(self) -> None:
        from localchat.tui.commands import TABLE
        from localchat.tui.commands.table import candidates

        self.chat_pane.prompt.commands = [Command(*one[:3]) for one in TABLE.values()]
        self.history_pane.reload()
        if self._start.conversation is not None:
            with self.telling():
                await self.open(self._start.conversation)
        self.warm()
        themes = list(self.app.available_themes)
        with self.telling():
            self.chat_pane.prompt.candidates = await aside(lambda: candidates(self.places, themes))
        with self.telling():
            store = await aside(self.chats.history.store)
            self.chat_pane.prompt.history = await aside(lambda: store.prompts(_RECALLED))
            for note in await aside(self.chats.history.look_after):
                self.say(note)

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

    def take_keys(self, keys: Iterable[Message]) -> None:
        """What was typed before there was a prompt."""
        area = self.chat_pane.prompt.query_one(PromptArea)
        for key in keys:
            area.post_message(key)

    def hear(self, chat: Chat, news: News) -> None:
        """May be called in any thread."""
        self.post_message(self.ChatNews(chat, news))

    async def open(self, conversation: str) -> None:
        """Shows a stored conversation."""
        self.show(await aside(lambda: self.chats.open(conversation)))

    # showing

    def show(self, chat: Chat) -> None:
        """Brings a chat to the screen; another one goes on behind it."""
        self.history_pane.remove_class("-open")
        self.chat_pane.show(chat)
        if not chat.context and self.chats.engines.has(chat.settings.model):
            self.warm()

    @on(ChatPane.Shown)
    def _shown(self) -> None:
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

    def _show_counts(self) -> None:
        """The status while text comes: numbers that change with every token can't be read."""
        if {self.status_line.phase, self.chat.phase} != {"generating"}:
            self._show_status()
        elif self._counting is None:
            self._counting = self.set_timer(_READABLE, self._show_counted)

    def _show_counted(self) -> None:
        self._counting = None
        self._show_status()

    def _mark_chats(self) -> None:
        self.history_pane.mark(
            self.chat.key,
            (chat.key for chat in self.chats.busy),
            (chat.key for chat in self.chats.unseen),
        )

    @on(Told)
    def _told(self, event: Told) -> None:
        self.notify(clean(event.sentence), markup=False)

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        """What went wrong, and what to do."""
        error = event.error
        hint = f"\n{clean(error.hint)}" if error.hint else ""
        self.notify(f"{clean(str(error))}{hint}", severity="error", timeout=10, markup=False)

    # the chat

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
            self.complain(download.error)
        elif download.model is not None:
            self.say(f"{download.model} is here: /model chooses it.")

    @on(ChatNews)
    def _heard(self, event: ChatNews) -> None:
        chat, news = event.chat, event.news
        for hear in self.listeners:
            hear(chat, news)
        if chat is self.chat:
            if news == "streamed" and chat.live is not None:
                self.chat_pane.stream(chat.live)
                self._show_counts()
            else:
                self.chat_pane.show_messages()
        elif news == "ended":
            chat.is_unseen = True
        if news == "streamed":
            return
        if news == "began":
            self.chat_pane.begun(chat)
        if news == "ended":
            self._tell_end(chat)
        self._mark_chats()
        self.history_pane.reload()

    def _tell_end(self, chat: Chat) -> None:
        run = chat.run
        assert run is not None
        if chat is self.chat:
            self.chat_pane.end_reply()
        if isinstance(run.error, EngineDied):
            self.complain(EngineDied(str(run.error), "Ctrl+L goes on, Ctrl+R begins anew."))
        elif run.error is not None:
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

    def action_leave(self) -> None:
        """Esc: ends what is going on, the nearest first."""
        if self.chat_pane.end_edit():
            return
        if self.chat.is_busy:
            self.chat.stop()
            self._show_status()
        else:
            self.history_pane.remove_class("-open")
            self.chat_pane.prompt.focus()

    def action_interrupt(self) -> None:
        """Ctrl+C: copies what is selected, stops the reply, or clears the prompt; twice, leaves."""
        if selected := self.chat_pane.selected:
            self.post_message(asked.CopyAsked(selected, "what was selected"))
        elif self.chat.is_busy:
            self.chat.stop()
            self._show_status()
        elif self.chat_pane.clear():
            return
        elif time.monotonic() - self._interrupted < _TWICE:
            self.app.exit(0)
        else:
            self._interrupted = time.monotonic()
            self.say("Ctrl+C once more leaves.")

    def action_toggle_sidebar(self) -> None:
        pane = self.history_pane
        if self.has_class("-narrow"):
            pane.toggle_class("-open")
        else:
            pane.toggle_class("-folded")
            self.remembered.is_sidebar_folded = pane.has_class("-folded")
        if pane.display:
            pane.focus_list()
        else:
            self.chat_pane.prompt.focus()

    def action_undo_deletion(self) -> None:
        self.history_pane.undo_deletion()

    def on_key(self, event: Key) -> None:
        """What is typed while nothing has the focus is meant for the prompt."""
        if self.focused is None and event.is_printable and event.character:
            self.chat_pane.insert(event.character)
            event.stop()

    # what widgets ask for

    @on(Prompt.CommandGiven)
    def _command_given(self, event: Prompt.CommandGiven) -> None:
        self.action_command(event.name, event.argument)

    @on(ChatPane.DeletionAsked)
    def _deletion_asked(self, event: ChatPane.DeletionAsked) -> None:
        self.history_pane.put_off(event.deletion)

    @on(Sidebar.Chosen)
    async def _chosen(self, event: Sidebar.Chosen) -> None:
        with self.telling():
            await self.open(event.conversation)
            if event.message is not None:
                await self.chat_pane.look_at(event.message)

    @on(HistoryPane.Deleted)
    def _deleted(self, event: HistoryPane.Deleted) -> None:
        if event.conversation == self.chat.key:
            self.action_command("new")

    @on(HistoryPane.Changed)
    async def _changed(self) -> None:
        """By what the list did: a deletion, or its undoing."""
        chat = self.chat
        if not chat.is_busy:
            with self.telling():
                await aside(chat.load)
            self.chat_pane.show_messages()

    @on(Sidebar.NewAsked)
    def _new_asked(self) -> None:
        self.action_command("new")
