"""One prompt, two models or two settings, side by side; either reply can be kept."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Static

from localchat.sanitize import clean
from localchat.store.records import StoredMessage
from localchat.tui.aside import aside
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.comparison import Comparison, Side
from localchat.tui.chats.run import News, Run
from localchat.tui.chats.settings import ChatSettings
from localchat.tui.screens.leaving import EndsWorkers
from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.status_line import StatusLine
from localchat.tui.widgets.transcript.transcript import Transcript

if TYPE_CHECKING:
    from localchat.tui.screens.main import MainScreen

_NARROW = 84  # columns below which the two lie above each other
_UNSTORED = -1


class Column(Vertical):
    """One side: what it is asked with, the prompt and the reply, and how that goes."""

    DEFAULT_CSS = """
    Column {
        width: 1fr;
        height: 1fr;
        & > .column--title {
            height: 1;
            padding: 0 2;
            color: $text-muted;
        }
        & > .column--title.-kept { color: $text-primary; text-style: bold; }
        & > StatusLine { background: $background; }
    }
    """

    title: reactive[str] = reactive("")

    def __init__(self, side: Side) -> None:
        super().__init__(id=side)
        self.side = side

    def compose(self) -> ComposeResult:
        yield Static(classes="column--title", markup=False)
        transcript = Transcript()
        transcript.greeting = ("", "")
        yield transcript
        yield StatusLine()

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def watch_title(self, title: str) -> None:
        for line in self.query(".column--title").results(Static):
            line.update(Content(clean(title)))

    def show(self, asked: StoredMessage | None, reply: StoredMessage | None, run: Run) -> None:
        """What there is of its reply now."""
        messages = [one for one in (asked, reply) if one is not None]
        self.transcript.show(messages, {}, run.live if run.phase != "idle" else None)

    def show_progress(self, run: Run | None, model: str) -> None:
        line = self.query_one(StatusLine)
        line.model = model
        line.phase = run.phase if run is not None else "idle"
        live = run.live if run is not None else None
        line.rate = live.tokens_per_second if live is not None else None
        done, total = (live.prefill if live is not None else None) or (0, 0)
        line.percent = 100 * done / total if total else None
        line.time_left = live.time_left if live is not None and total else None


class CompareScreen(Screen[None], EndsWorkers):
    """Ends when one reply is kept, or by Esc: then the left one is shown, and both are branches."""

    AUTO_FOCUS = "PromptArea"
    DEFAULT_CSS = """
    CompareScreen {
        layout: vertical;
        background: $background;
        & #sides { height: 1fr; }
        & #left { border-right: solid $foreground 15%; }
        &.-stacked #sides { layout: vertical; }
        &.-stacked #left { border-right: none; border-bottom: solid $foreground 15%; }
        & #hint {
            height: 1;
            padding: 0 2;
            background: $surface;
            color: $text-muted;
        }
        &:ansi #left { border-right: solid ansi_bright_black; }
        &:ansi #hint { background: ansi_default; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Stop, then close", id="compare.close"),
        Binding("1", "keep('left')", "Keep the left reply", id="compare.left"),
        Binding("2", "keep('right')", "Keep the right reply", id="compare.right"),
        Binding("ctrl+o", "model", "Model of the right side", id="compare.model", priority=True),
        Binding(
            "f2", "settings", "Settings of the right side", id="compare.settings", priority=True
        ),
    ]

    @dataclass
    class RightNews(Message):
        """Something has become of the right reply, in its thread."""

        news: News

        def can_replace(self, message: Message) -> bool:
            return (
                isinstance(message, CompareScreen.RightNews)
                and self.news == message.news == "streamed"
            )

    def __init__(self, main: MainScreen, text: str = "") -> None:
        super().__init__()
        self._main = main
        self._chat = main.chat
        self._text = text
        self._comparison = Comparison(main.chat, main.chat.settings, self._hear_right)
        self._has_asked = False
        self._unanswered = ""

    def compose(self) -> ComposeResult:
        with Horizontal(id="sides"):
            yield Column("left")
            yield Column("right")
        yield Prompt(placeholder="Ask both")
        yield Static(id="hint", markup=False)

    def on_mount(self) -> None:
        self._main.listeners.append(self._hear_left)
        self._show_settings()
        self._show_hint()
        if self._text:
            self._ask(self._text)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < _NARROW, "-stacked")

    def column(self, side: Side) -> Column:
        return self.query_one(f"#{side}", Column)

    # asking

    @on(Prompt.Submitted)
    def _submitted(self, event: Prompt.Submitted) -> None:
        event.stop()
        self._ask(event.text)

    def _ask(self, text: str) -> None:
        self._has_asked = True
        self._text = text
        self._comparison.ask(text)
        self.query_one(Prompt).display = False
        self.column("left").transcript.focus()
        self._show("left")
        self._show_hint()

    def on_unmount(self) -> None:
        self._main.listeners.remove(self._hear_left)

    def _hear_left(self, chat: Chat, news: News) -> None:
        if chat is not self._chat or not self._has_asked or self not in self.app.screen_stack:
            return
        if news == "began":
            self._comparison.join()
        run = self._comparison.left
        if news == "ended" and run is not None:
            self._unanswered = self._chat.take_back() or ""
            if not run.is_stored:
                self._ask_again()
        self._take("left", run, news)

    def _ask_again(self) -> None:
        """Gives the text back: there is nothing that the right side could answer."""
        self._has_asked = False
        prompt = self.query_one(Prompt)
        prompt.display = True
        prompt.load(self._unanswered)
        prompt.focus()

    def _hear_right(self, side: Side, news: News) -> None:
        del side
        self.post_message(self.RightNews(news))

    @on(RightNews)
    def _right_heard(self, event: RightNews) -> None:
        run = self._comparison.right
        self._take("right", run, event.news)
        if event.news == "ended" and run is not None and run.error is not None:
            self._main.complain(run.error)

    def _take(self, side: Side, run: Run | None, news: News) -> None:
        if news == "streamed" and run is not None and run.live is not None:
            self.column(side).transcript.stream(run.live)
        else:
            self._show(side)
        self.column(side).show_progress(run, self._settings(side).model)
        self._show_hint()

    def _show(self, side: Side) -> None:
        read: Callable[[], Awaitable[None]] = partial(self._read, side)
        self.run_worker(read, group=side, exclusive=True)

    async def _read(self, side: Side) -> None:
        run = self._comparison.left if side == "left" else self._comparison.right
        if run is None:
            return
        asked = reply = None
        if self._has_asked:
            now = time.time()
            asked = StoredMessage(_UNSTORED, "", None, "user", self._text, "", now, "complete")
        with self._main.telling():
            if run.live is not None:
                live = run.live
                reply = await aside(lambda: self._chat.message(live.reply))
            self.column(side).show(asked, reply, run)

    # what it is asked with

    def _settings(self, side: Side) -> ChatSettings:
        return self._chat.settings if side == "left" else self._comparison.other

    def _show_settings(self) -> None:
        left, right = self._settings("left"), self._settings("right")
        self.column("left").title = _described(left, right)
        self.column("right").title = _described(right, left)
        for side in ("left", "right"):
            self.column(side).show_progress(None, self._settings(side).model)

    @work
    async def action_model(self) -> None:
        from localchat.tui.screens.models import ModelPicker

        if self._has_asked:
            return
        main = self._main
        other = self._comparison.other
        picker = ModelPicker(main.places, main.settings, other.model, main.downloads)
        name = await self.app.push_screen_wait(picker)
        if name is not None:
            self._comparison.other = replace(other, model=name)
            self._show_settings()

    @work
    async def action_settings(self) -> None:
        from localchat.tui.screens.settings import SettingsPanel

        if self._has_asked:
            return
        panel = SettingsPanel(self._main.places, self._comparison.other)
        chosen = await self.app.push_screen_wait(panel)
        if chosen is not None:
            self._comparison.other = chosen
            self._show_settings()

    # ending

    @work
    async def action_keep(self, side: Side) -> None:
        if not self._has_asked or self._comparison.is_busy:
            return
        with self._main.telling():
            await aside(lambda: self._comparison.keep(side))
            if side == "right":
                self._unanswered = ""
            self._close()

    def action_leave(self) -> None:
        if self._comparison.is_busy:
            self._chat.stop()
            self._show_hint()
        else:
            self._close()

    def _close(self) -> None:
        """The chat's own prompt gets what there is no answer to."""
        if not self.is_current:  # a second key came before the screen was gone
            return
        pane = self._main.chat_pane
        text = self._unanswered if self._has_asked else self.query_one(Prompt).text
        if text and not pane.prompt.text:
            pane.prompt.load(text)
        self.dismiss(None)
        pane.show_messages()

    def _show_hint(self) -> None:
        if not self._has_asked:
            hint = "Enter asks both · Ctrl+O model and F2 settings of the right side · Esc closes"
        elif self._comparison.is_busy:
            hint = "Esc stops both · Tab goes to the other side"
        else:
            hint = "1 keeps the left, 2 keeps the right · Esc closes; both stay as branches"
        self.query_one("#hint", Static).update(Content(hint))


def _described(settings: ChatSettings, beside: ChatSettings) -> str:
    """The model, and what else is not the same on the other side."""
    values = [
        f"{name} {settings.sampling.get(name, 'default')}"
        for name in _differing(settings.sampling, beside.sampling)
    ]
    if settings.reasoning != beside.reasoning:
        values.append(f"reasoning {settings.reasoning}")
    if settings.system != beside.system:
        values.append("other instructions")
    if settings.preset != beside.preset:
        values.append(f"preset {settings.preset or 'none'}")
    return " · ".join([settings.model, *values])


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
