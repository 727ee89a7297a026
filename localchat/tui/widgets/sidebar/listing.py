"""The list of the sidebar: one of thousands of rows costs nothing until it is on the screen.

An OptionList of 5,000 options takes 140 ms to fill, and 27 ms each time that one of them changes,
which is all that a key may take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from localchat.tui.widgets.one_line import cut
from localchat.tui.widgets.sidebar.rows import Choice, Found, Heading, Marks, Row

_CURRENT = "▎"
_CURSOR = "▸"
_FINISHED = "✓"
_RUNNING = ("•", "·")  # the first one where nothing is animated
_BEAT = 0.5  # seconds for each of them
_MARGIN = 3  # cells before a title: what it is now, a mark, a space


class Listing(ScrollView, can_focus=True):
    """Rows, of which one has the cursor while the list has the focus."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Listing {
        height: 1fr;
        overflow-x: hidden;
        color: $foreground;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 15%;
        scrollbar-color-hover: $foreground 25%;
        scrollbar-background: $surface;
        scrollbar-background-hover: $surface;
        scrollbar-background-active: $surface;
        & > .listing--heading { color: $text-muted; }
        & > .listing--snippet { color: $text-muted; }
        & > .listing--word { color: $text-accent; text-style: bold; }
        & > .listing--mark { color: $text-primary; }
        & > .listing--current { color: $text-primary; text-style: bold; }
        & > .listing--hover { background: $foreground 6%; }
        & > .listing--cursor { background: $foreground 12%; }
        &:ansi {
            scrollbar-color: ansi_bright_black;
            scrollbar-color-hover: ansi_bright_black;
            scrollbar-background: ansi_default;
            & > .listing--heading { text-style: dim; color: ansi_default; }
            & > .listing--snippet { text-style: dim; color: ansi_default; }
            & > .listing--word { text-style: bold underline; }
            & > .listing--hover { background: ansi_default; text-style: underline; }
            & > .listing--cursor { background: ansi_default; text-style: reverse; }
        }
        &:nocolor > .listing--cursor { text-style: reverse; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "listing--heading",
        "listing--snippet",
        "listing--word",
        "listing--mark",
        "listing--current",
        "listing--hover",
        "listing--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "up", "Up", id="sidebar.up", show=False),
        Binding("down,j", "down", "Down", id="sidebar.down", show=False),
        Binding("pageup", "page(-1)", "Page up", id="sidebar.page_up", show=False),
        Binding("pagedown", "page(1)", "Page down", id="sidebar.page_down", show=False),
        Binding("home", "end(0)", "First", id="sidebar.first", show=False),
        Binding("end", "end(-1)", "Last", id="sidebar.last", show=False),
        Binding("enter", "choose", "Open", id="sidebar.open", show=False),
    ]

    running: reactive[frozenset[str]] = reactive(frozenset[str]())
    finished: reactive[frozenset[str]] = reactive(frozenset[str]())
    current: reactive[str | None] = reactive[str | None](None)

    @dataclass
    class Picked(Message):
        """The user wants this one."""

        choice: Choice

    @dataclass
    class Passed(Message):
        """The cursor was to leave the list at its top."""

    @dataclass
    class EndNear(Message):
        """Less than a screen of rows follows what is seen."""

    def __init__(self, empty: str) -> None:
        """`empty` is what is said where there are no rows."""
        super().__init__()
        self.empty = empty
        self._rows: Sequence[Row] = ()
        self._tops: Sequence[int] = (0,)
        self._choices: Sequence[int] = ()
        self._cursor: int | None = None  # a place among the choices
        self._hover: int | None = None  # a row
        self._beat: Timer | None = None
        self._frame = 0
        self._has_moved = False
        self._has_told_end = False
        self._styles: dict[tuple[str, ...], Style] = {}

    def show(self, rows: Iterable[Row], *, from_top: bool = False) -> None:
        """Replaces the rows. The cursor stays with its conversation, or else at its place."""
        chosen = self.chosen
        self._rows = [*rows]
        self._tops = [0, *accumulate(row.height for row in self._rows)]
        self._choices = [
            place for place, row in enumerate(self._rows) if not isinstance(row, Heading)
        ]
        self._hover = None
        if from_top:
            self._cursor = 0 if self._choices else None
            self.scroll_to(y=0, animate=False, immediate=True)
        else:
            self._cursor = self._place_of(chosen)
        self.virtual_size = Size(self.content_size.width, self._tops[-1])
        if self.has_focus and self._cursor is not None:
            self._move_to(self._cursor)
        self._has_told_end = False
        self.refresh()

    @property
    def chosen(self) -> Choice | None:
        """The row with the cursor."""
        if self._cursor is None:
            return None
        row = self._rows[self._choices[self._cursor]]
        assert not isinstance(row, Heading)
        return row

    def line_of(self, choice: Choice) -> int:
        """On which line of the widget it is, from 0."""
        return self._tops[self._rows.index(choice)] - self.scroll_offset.y

    def point_at(self, conversation: str | None) -> None:
        """Moves the cursor to a conversation, if it is there."""
        for place, index in enumerate(self._choices):
            row = self._rows[index]
            if not isinstance(row, Heading) and row.conversation == conversation:
                self._move_to(place)
                return

    def _place_of(self, choice: Choice | None) -> int | None:
        if not self._choices:
            return None
        if choice is None:
            return 0
        for place, index in enumerate(self._choices):
            row = self._rows[index]
            if not isinstance(row, Heading) and (row.conversation, row.message) == (
                choice.conversation,
                choice.message,
            ):
                return place
        return min(self._cursor or 0, len(self._choices) - 1)

    # moving

    def action_up(self) -> None:
        if not self._cursor:
            self.post_message(self.Passed())
        else:
            self._move_to(self._cursor - 1)

    def action_down(self) -> None:
        if self._cursor is not None:
            self._move_to(self._cursor + 1)

    def action_page(self, direction: int) -> None:
        if self._cursor is None:
            return
        line = self._tops[self._choices[self._cursor]] + direction * max(self.size.height - 1, 1)
        row = bisect_right(self._tops, max(line, 0)) - 1
        place = bisect_right(self._choices, row) - 1
        self._move_to(place if direction < 0 else max(place, self._cursor + 1))

    def action_end(self, place: int) -> None:
        self._move_to(len(self._choices) - 1 if place else 0)

    def action_choose(self) -> None:
        if (choice := self.chosen) is not None:
            self.post_message(self.Picked(choice))

    def _move_to(self, place: int) -> None:
        if not self._choices:
            return
        self._cursor = min(max(place, 0), len(self._choices) - 1)
        index = self._choices[self._cursor]
        top, height = self._tops[index], self._rows[index].height
        if self._cursor == 0:
            top, height = 0, top + height  # with the heading above it
        region = Region(0, top, self.content_size.width, height)
        self.scroll_to_region(region, animate=False, force=True, immediate=True)
        self.refresh()

    # the mouse

    def on_click(self, event: events.Click) -> None:
        row = self._row_at(event)
        if row in self._choices:
            self._move_to(self._choices.index(row))
            self.action_choose()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._set_hover(self._row_at(event))

    def on_leave(self) -> None:
        self._set_hover(None)

    def _row_at(self, event: events.MouseEvent) -> int:
        """Below the last one: a place that no row has."""
        return bisect_right(self._tops, event.y + self.scroll_offset.y) - 1

    def _set_hover(self, row: int | None) -> None:
        if row != self._hover:
            self._hover = row
            self.refresh()

    # painting: only what is painted is seen, so this is where what depends on it begins

    def render_lines(self, crop: Region) -> list[Strip]:
        painted = super().render_lines(crop)
        seen = self.scroll_offset.y + self.size.height
        if self._rows and not self._has_told_end and seen + self.size.height >= self._tops[-1]:
            self._has_told_end = True
            self.post_message(self.EndNear())
        return painted

    def on_resize(self) -> None:
        self.virtual_size = Size(self.content_size.width, self._tops[-1])

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        line = y + self.scroll_offset.y
        if not self._rows:
            return self._say_empty(line, width)
        place = bisect_right(self._tops, line) - 1
        if place >= len(self._rows):
            return self._strip([], width, self._style())
        row = self._rows[place]
        line -= self._tops[place]
        if isinstance(row, Heading):
            style = self._style("heading")
            text = cut(row.text, width - 1) if line == row.height - 1 else ""
            return self._strip([Segment(f" {text}", style)], width, self._style())
        return self._choice(place, row, line, width)

    def _choice(self, place: int, row: Choice, line: int, width: int) -> Strip:
        has_cursor = (
            self.has_focus and self._cursor is not None and self._choices[self._cursor] == place
        )
        layers = []
        if has_cursor:
            layers.append("cursor")
        elif place == self._hover:
            layers.append("hover")
        is_current = row.conversation == self.current
        room = width - _MARGIN - 1
        if line:
            assert isinstance(row, Found)
            text, marks = _around(row.snippet, row.marks, room)
            style = self._style(*layers, "snippet")
            segments = [Segment(" " * _MARGIN, style)]
        else:
            text, marks = row.title, row.title_marks if isinstance(row, Found) else ()
            style = self._style(*layers, *(["current"] if is_current else []))
            mark = self._mark(row.conversation)
            first = _CURRENT if is_current else _CURSOR if has_cursor else " "
            mark_style = self._style(*layers, "mark")
            segments = [Segment(f"{first}{mark} ", mark_style)]
        segments += _marked(cut(text, room), marks, style, self._style(*layers, "word"))
        return self._strip(segments, width, self._style(*layers))

    def _mark(self, conversation: str) -> str:
        if conversation in self.running:
            self._begin_to_move()
            return _RUNNING[self._frame]
        return _FINISHED if conversation in self.finished else " "

    def _begin_to_move(self) -> None:
        self._has_moved = True
        if self._beat is None and self.app.animation_level == "full":
            self._beat = self.set_interval(_BEAT, self._next_frame)

    def _next_frame(self) -> None:
        """Ends by itself when no mark that moves was painted since the last time."""
        if not self._has_moved and self._beat is not None:
            self._beat.stop()
            self._beat = None
        self._has_moved = False
        self._frame = (self._frame + 1) % len(_RUNNING) if self._beat is not None else 0
        first, last = (
            bisect_right(self._tops, self.scroll_offset.y + line) - 1
            for line in (0, self.size.height)
        )
        for place in range(max(first, 0), min(last + 1, len(self._rows))):
            row = self._rows[place]
            if not isinstance(row, Heading) and row.conversation in self.running:
                self.refresh_line(self._tops[place])

    def _say_empty(self, line: int, width: int) -> Strip:
        from rich.text import Text

        text = Text(self.empty, style=self._style("heading"))
        lines = text.wrap(self.app.console, max(width - 2, 1))
        said = lines[line - 1].plain if 0 < line <= len(lines) else ""
        return self._strip([Segment(f" {said}", self._style("heading"))], width, self.rich_style)

    def _style(self, *names: str) -> Style:
        """Of components that lie above each other, the last one on top."""
        if (style := self._styles.get(names)) is None:
            components = [f"listing--{name}" for name in names]
            style = self.get_visual_style(*components).rich_style
            # Textual leaves reverse out of visual styles. Colours would make patches in it.
            if any(self.get_component_styles(name).text_style.reverse for name in components):
                style = Style(reverse=True, bold=style.bold, underline=style.underline)
            self._styles[names] = style
        return style

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()

    def _strip(self, segments: list[Segment], width: int, style: Style) -> Strip:
        return Strip(segments).adjust_cell_length(width, style)


def _around(text: str, marks: Marks, cells: int) -> tuple[str, Marks]:
    """The part of `text` that begins near the first mark, if that has no room otherwise."""
    if not marks or cell_len(text[: marks[0][1]]) <= cells - 1:
        return text, marks
    start = marks[0][0]
    before = text.find(" ", max(start - cells // 2, 0), start)
    start = before + 1 if before >= 0 else start
    moved = tuple((begin - start + 1, end - start + 1) for begin, end in marks)
    return f"…{text[start:]}", moved


def _marked(text: str, marks: Marks, style: Style, word: Style) -> list[Segment]:
    segments, place = [], 0
    for start, end in marks:
        end = min(end, len(text))
        if start >= end:
            continue
        segments += [Segment(text[place:start], style), Segment(text[start:end], word)]
        place = end
    return [*segments, Segment(text[place:], style)]
