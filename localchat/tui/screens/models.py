"""The model picker: what is installed, what would fit, and how to get it."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static

from localchat.config import Settings
from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.sanitize import clean
from localchat.tui.aside import aside
from localchat.tui.models import choices, rows, telling
from localchat.tui.models.choices import Choice
from localchat.tui.models.downloads import Download, Downloads
from localchat.tui.models.search import Search
from localchat.tui.models.telling import Lines
from localchat.tui.screens.leaving import EndsWorkers
from localchat.tui.widgets.model_list import ModelList

_GLANCE = 0.25  # seconds between two looks at downloads, while there are any
_KEYS = "↑↓ move   enter choose   esc close"
_KEYS_ASKED = "enter download it   esc don't"
_KEYS_DOWNLOAD = "esc stop the download   ctrl+o close, it goes on"
_LOOKING = "Looking at what fits this machine …"
_NOTHING = "There is no such model."


class ModelPicker(ModalScreen[str | None], EndsWorkers):
    """Ends with the name of an installed model, or None.

    It asks before it uses the network, each time. Downloads go on when it is closed.
    """

    AUTO_FOCUS = "#looked-for"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "list('cursor_up')", "Up", id="models.up", show=False),
        Binding("down", "list('cursor_down')", "Down", id="models.down", show=False),
        Binding("pageup", "list('page_up')", "Page up", id="models.page_up", show=False),
        Binding("pagedown", "list('page_down')", "Page down", id="models.page_down", show=False),
        Binding("escape", "leave", "Close", id="models.leave"),
        Binding("ctrl+o", "close", "Close", id="models.close"),
    ]
    DEFAULT_CSS = """
    ModelPicker {
        align: center middle;
        & > Vertical {
            width: 88;
            max-width: 100%;
            height: 90%;
            max-height: 40;
            background: $surface;
            padding: 1 0;
        }
        #looked-for {
            background: transparent;
            padding: 0 2;
            margin-bottom: 1;
        }
        #models {
            height: 1fr;
        }
        #facts {
            margin-top: 1;
            padding: 0 2;
            height: 4;
            color: $text-muted;
        }
        #keys {
            padding: 0 2;
            height: 1;
            color: $text-disabled;
        }
        &.-small {
            & > Vertical {
                height: 100%;
                max-height: 100%;
                padding: 0;
            }
            #facts {
                margin: 0;
                height: 3;
            }
        }
    }
    """

    def __init__(
        self, places: Paths, settings: Settings, current: str, downloads: Downloads
    ) -> None:
        """`current` is the model of the chat that it is opened from, by any of its names."""
        super().__init__()
        self._places = places
        self._settings = settings
        self._current = current
        self._downloads = downloads
        self._choices: list[Choice] = []
        self._served: frozenset[str] = frozenset()
        self._remark = _LOOKING
        self._search = Search()
        self._asked: str | None = None
        self._refused: str | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Input(placeholder="Type to find a model", id="looked-for", compact=True)
            yield ModelList(id="models")
            yield Static(id="facts", markup=False)
            yield Static(_KEYS, id="keys", markup=False)

    def on_mount(self) -> None:
        self._timer = self.set_interval(_GLANCE, self._look, pause=True)
        self._list_all()
        self._load()

    def on_unmount(self) -> None:
        self._downloads.forget_ended()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 90 or event.size.height < 30, "-small")

    @property
    def _list(self) -> ModelList:
        return self.query_one(ModelList)

    # what there is

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        """Shows each part as soon as it is known: what fits may take seconds the first time."""
        there: list[Choice] = []
        try:
            there = await aside(lambda: choices.there(self._places))
            self._take(choices.merged(there, self._choices))
            self._ask_engines()
            judged = await aside(lambda: choices.judged(self._settings, self._places))
            self._take(choices.merged(there, judged))
            self._remark = ""
        except LocalchatError as error:
            self._remark = clean(f"{error} {error.hint or ''}").strip()
        self._list_all()

    @work(exclusive=True, group="engines")
    async def _ask_engines(self) -> None:
        self._served = await aside(lambda: choices.served(self._choices, self._places))
        self._list_all()

    def _take(self, found: list[Choice]) -> None:
        self._choices = choices.with_current(found, self._current)
        self._list_all()

    def _list_all(self) -> None:
        found = self._search.find(self.query_one(Input).value, self._choices)
        current = choices.find(self._choices, self._current)
        remark = self._remark or ("" if found.choices else _NOTHING)
        self._list.show(found, current.name if current else "", self._served, remark)
        for name in self._downloads.names:
            self._write(name)
        self._say_facts()
        self._watch_downloads()

    # what is said

    def _write(self, name: str) -> None:
        """Says below a row what there is to say."""
        self._list.say(name, *self._said(name))
        self._say_keys()

    def _said(self, name: str) -> tuple[Lines, Download | None]:
        choice = choices.find(self._choices, name)
        download = self._downloads.find(name)
        if choice is not None and self._asked == name:
            return telling.question(choice, ""), None
        if choice is not None and self._refused == name:
            return telling.refusal(choice), None
        if download is None:
            return [], None
        return telling.of_download(download), download if download.state == "running" else None

    def _say_facts(self) -> None:
        chosen = self._list.chosen
        self.query_one("#facts", Static).update(rows.facts(chosen) if chosen else "")
        self._say_keys()

    def _say_keys(self) -> None:
        keys = _KEYS
        if self._asked is not None:
            keys = _KEYS_ASKED
        elif self._running_here is not None:
            keys = _KEYS_DOWNLOAD
        self.query_one("#keys", Static).update(keys)

    # downloads

    @property
    def _running_here(self) -> Download | None:
        """The download of the highlighted one."""
        chosen = self._list.chosen
        download = self._downloads.find(chosen.name) if chosen is not None else None
        return download if download is not None and download.state == "running" else None

    def _watch_downloads(self) -> None:
        if self._timer is not None and self._downloads.running:
            self._timer.resume()

    def _look(self) -> None:
        """Shows how downloads get on, until there are none."""
        are_over = not self._downloads.running
        for name in self._downloads.names:
            self._write(name)
        if are_over and self._timer is not None:
            self._timer.pause()
            self._load()

    @work(exclusive=True, group="source")
    async def _find_source(self, choice: Choice) -> None:
        try:
            source = await aside(lambda: choices.source(choice.name))
        except LocalchatError:  # the catalogue can't be read any more: the download will tell
            return
        if self._asked == choice.name:
            self._list.say(choice.name, telling.question(choice, source))

    # what the user does

    @on(Input.Changed)
    def _look_for(self) -> None:
        self._take_back()
        self._list_all()

    @on(OptionList.OptionHighlighted)
    def _highlight(self) -> None:
        chosen = self._list.chosen
        if chosen is None or chosen.name not in (self._asked, self._refused):
            self._take_back()
        self._say_facts()

    @on(OptionList.OptionSelected)
    @on(Input.Submitted)
    def _choose(self) -> None:
        chosen = self._list.chosen
        if chosen is None:
            return
        name = chosen.name
        download = self._downloads.find(name)
        if download is not None and download.state == "done":
            self.dismiss(download.model)
        elif chosen.is_installed:
            self.dismiss(name)
        elif download is not None and download.state == "running":
            return
        elif self._asked == name:
            self._asked = None
            self._downloads.start(name)
            self._write(name)
            self._watch_downloads()
        elif self._settings.offline or chosen.verdict == "no":
            self._refused = name
            self._write(name)
        else:
            self._asked = name
            self._write(name)
            self._find_source(chosen)

    def _take_back(self) -> None:
        """Asks and refuses no more."""
        before = self._asked or self._refused
        self._asked = self._refused = None
        if before is not None:
            self._write(before)

    def action_list(self, name: str) -> None:
        getattr(self._list, f"action_{name}")()

    def action_leave(self) -> None:
        if self._asked is not None or self._refused is not None:
            self._take_back()
        elif (download := self._running_here) is not None:
            download.stop()
            self._write(download.name)
        else:
            self.dismiss(None)

    def action_close(self) -> None:
        self.dismiss(None)
