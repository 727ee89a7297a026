"""The list of what could be meant, over the transcript; the focus stays in the text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.geometry import Offset, Region
from textual.message import Message
from textual.widgets import OptionList

from localchat.tui.widgets.prompt import offers as offered
from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.files import scan
from localchat.tui.widgets.prompt.offers import Offer
from localchat.tui.widgets.prompt.wanted import Wanted

_MOST_ROWS = 8
_MOST_CELLS = 76
_FRESH = 10.0  # seconds for which a folder is not looked through again
_SIGNS = {"command": "/", "argument": "", "file": "@"}


class Completions(OptionList, can_focus=False):
    """Is told what is wanted, and shows what there is; empty, it is closed."""

    DEFAULT_CSS = """
    Completions {
        overlay: screen;
        constrain: inside;
        display: none;
        width: auto;
        height: auto;
        border: round $foreground 30%;
        padding: 0;
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 30%;
        scrollbar-background: $background;
        & > .option-list--option {
            padding: 0 1;
        }
        & > .option-list--option-highlighted {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
    }
    """

    @dataclass
    class Chosen(Message):
        """One was clicked."""

    @dataclass
    class Found(Message):
        """The folder was looked through."""

        paths: frozenset[str]

    @dataclass
    class Turned(Message):
        """The list was opened or closed."""

    def __init__(self, root: Path) -> None:
        super().__init__(markup=False)
        self.commands: Sequence[Command] = ()
        self.candidates: Mapping[str, Sequence[str]] = {}
        self.wanted: Wanted | None = None
        """What the offers are for."""
        self._root = root
        self._paths: list[str] = []
        self._looked_at: float | None = None
        self._offers: Sequence[Offer] = ()

    @property
    def is_open(self) -> bool:
        return bool(self._offers)

    @property
    def choice(self) -> Offer | None:
        """The offer that is highlighted."""
        if self.highlighted is None or not self._offers:
            return None
        return self._offers[self.highlighted]

    def look_for(self, wanted: Wanted, beside: Region) -> None:
        """Shows offers above or below a region, the best one highlighted."""
        self.wanted = wanted
        match wanted.kind:
            case "command":
                self._show(offered.commands(wanted.query, self.commands), beside)
            case "argument":
                self._show(offered.arguments(wanted, self.candidates), beside)
            case "file":
                self.scan()
                self.run_worker(self._look_for_files(wanted, beside), exclusive=True)

    def close(self) -> None:
        self.wanted = None
        self._show((), Region())

    def move(self, by: int) -> None:
        if by < 0:
            self.action_cursor_up()
        else:
            self.action_cursor_down()

    def scan(self) -> None:
        """Looks through the folder, if that was not done just now; then `Found` is posted."""
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at > _FRESH:
            self._looked_at = now
            self.run_worker(self._scan(), group="scan")

    def place(self, beside: Region) -> None:
        """Puts the list above the region, or below where that has more room."""
        if not self._offers:
            return
        above, below = beside.y, self.screen.size.height - beside.bottom
        rows = max(min(len(self._offers), _MOST_ROWS, max(above, below) - 2), 1)
        self.styles.max_height = rows + 2
        y = above - rows - 2 if above >= below else beside.bottom
        self.absolute_offset = Offset(beside.x, max(y, 0))
        self.refresh(layout=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen())

    def _show(self, found: Sequence[Offer], beside: Region) -> None:
        was_open = self.is_open
        self._offers = found
        self.display = bool(found)
        if found and self.wanted is not None:
            width = min(_MOST_CELLS, beside.width) - 5
            self.set_options(offered.rows(found, _SIGNS[self.wanted.kind], width))
            self.highlighted = 0
            self.place(beside)
        if was_open != self.is_open:
            self.post_message(self.Turned())

    async def _look_for_files(self, wanted: Wanted, beside: Region) -> None:
        found = await asyncio.to_thread(offered.files, wanted.query, self._paths)
        if self.wanted == wanted:
            self._show(found, beside)

    async def _scan(self) -> None:
        self._paths = await asyncio.to_thread(scan, self._root)
        self.post_message(self.Found(frozenset(self._paths)))
