"""Draws messages beneath each other, and keeps the reader's place while they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Offset, Region, Size
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBar
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from localchat.tui.widgets.transcript.rows import Rows
from localchat.tui.widgets.transcript.scroll_bar import LineBar

if TYPE_CHECKING:
    from localchat.tui.widgets.transcript.lines import Line
    from localchat.tui.widgets.transcript.turn import Turn

_MARGIN = 4  # columns to the left: the mark of the chosen message, a blank, the bar, a blank
_WIDEST = 100  # columns of text: longer lines are hard to read
_KEPT = 60  # messages whose lines stay in memory
_LINE_BITS = 24  # of a place in a selection; the message is in the bits above
_MORE = " ▾ new text below "
_FOLLOW = Style.from_meta({"@click": "follow"})
_CHOSEN = (Content("  "), Content.styled("│", ".mark") + " ")


class Sheet(ScrollView):
    """Messages as lines. The reader's place stays: what is at the top of it stays there, or it
    follows the end while the reader is there."""

    DEFAULT_CSS = """
    Sheet {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-background-hover: $background;
        scrollbar-background-active: $background;
        scrollbar-color: $foreground 20%;
        scrollbar-color-hover: $foreground 35%;
        scrollbar-color-active: $accent;
        background: $background;
        color: $foreground;

        & > .bar { color: $accent; background: $surface; }
        & > .user { background: $surface; }
        & > .remark { background: $surface; color: $text-muted; }
        & > .mark { color: $accent; }
        & > .more { color: $accent; background: $panel; text-style: bold; }
        & > .muted { color: $text-muted; }
        & > .footer { color: $text-muted; text-style: italic; }
        & > .code { color: $text-accent; background: $surface; }
        & > .code-block { background: $surface; }
        & > .code-label { background: $surface; color: $text-muted; }
        & > .heading-1 { color: $text-accent; text-style: bold underline; }
        & > .heading-2 { color: $text-accent; text-style: bold; }
        & > .heading-3 { text-style: bold; }
        & > .bullet { color: $text-accent; }
        & > .em { text-style: italic; }
        & > .strong { text-style: bold; }
        & > .strike { text-style: strike; }
        & > .link { color: $text-accent; text-style: underline; }
        & > .greeting { text-style: bold; }
        & > .hint { color: $text-muted; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("bar", "user", "remark", "mark", "more", "muted", "footer", "code", "code-block"),
        *("code-label", "heading-1", "heading-2", "heading-3", "bullet", "em", "strong", "strike"),
        *("link", "greeting", "hint"),
    }

    greeting: tuple[str, ...] = (
        "What is on your mind?",
        "Enter sends  ·  / commands  ·  F1 keys",
    )
    """What is shown where there is no message yet: the first line is the largest."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.turns: list[Turn] = []
        self.chosen: Turn | None = None
        self.is_following = True
        """Whether the end is shown as it comes: until the reader scrolls up."""
        self._has_more = False  # whether text has come below since the end was left
        self._rows = Rows()
        self._place: tuple[Turn, int] | None = None  # a message in view, its row from the top
        self._is_arranging = False
        self._strips: dict[int, dict[tuple[int, bool], Strip]] = {}
        self._frame: dict[int, Strip] = {}  # rows of the screen, as they were drawn last
        self._styles: dict[str, Style] = {}

    @property
    def vertical_scrollbar(self) -> ScrollBar:
        """Made when it is first asked for, as Textual does."""
        if self._vertical_scrollbar is None:
            self._vertical_scrollbar = LineBar(thickness=self.scrollbar_size_vertical)
            self._vertical_scrollbar.display = False
            self.app._start_widget(self, self._vertical_scrollbar)
        return self._vertical_scrollbar

    # The reader's place

    def lay_out(self, size: Size | None = None) -> None:
        """Makes the lines that are in view, and puts the reader's place where it was."""
        width, height = size or self.scrollable_content_region.size
        text_width = max(min(width - _MARGIN - 2, _WIDEST), 1)
        top = self._settle(text_width, max(height, 1))
        self._forget_far(top, height)
        total = Size(width, self._rows.height + 1)
        self._is_arranging = True
        try:
            if size is not None:  # within a layout, which goes on with the scrollbar
                self.set_reactive(Widget.virtual_size, total)
                self.set_reactive(Widget.scroll_y, float(top))
                self.set_reactive(Widget.scroll_target_y, float(top))
            else:
                self._resize_to(total, height)
                self.scroll_target_y = self.scroll_y = top
        finally:
            self._is_arranging = False
        self.vertical_scrollbar.position = top  # scroll_y tells it only where it is shown already
        self._remember(top)

    def _settle(self, width: int, height: int) -> int:
        """Makes lines until all in view are there. Returns the row that comes first."""
        while True:
            self._rows = rows = Rows(self.turns, width)
            last = max(rows.height + 1 - height, 0)
            top = last if self.is_following else max(min(self._top_row(), last), 0)
            missing = [
                index
                for index in rows.within(top - 1, height + 1)
                if not self.turns[index].is_measured(width)
            ]
            if not missing:
                return top
            for index in missing:
                self._make(self.turns[index], width)

    def _make(self, turn: Turn, width: int) -> None:
        """Makes the lines of a message. A place within it is as far down in it as it was."""
        grows = turn.is_made and turn.width == width
        before = turn.height(turn.width if turn.is_made else width)
        turn.lines(width)
        self._drop_strips(turn, turn.changed_from)
        if self._place is not None and self._place[0] is turn and not grows:
            offset = self._place[1]
            if offset < 0:
                self._place = (turn, offset * turn.height(width) // before)

    def _top_row(self) -> int:
        if self._place is None:
            return 0
        turn, offset = self._place
        if turn not in self.turns:
            return self._rows.height
        return 1 + self._rows.top(self.turns.index(turn)) - offset

    def _remember(self, top: int) -> None:
        """Keeps where the reader is: the first message in view of which the lines are made."""
        in_view = list(self._rows.within(top - 1, self.size.height))
        made = [at for at in in_view if self.turns[at].is_measured(self._rows.width)]
        self._place = None
        if in_view:
            index = (made or in_view)[0]
            self._place = (self.turns[index], 1 + self._rows.top(index) - top)

    def _resize_to(self, total: Size, height: int) -> None:
        if (self.virtual_size.height > height) != (total.height > height):
            self.virtual_size = total  # the scrollbar comes or goes: a layout
        elif total != self.virtual_size:
            self.set_reactive(Widget.virtual_size, total)
            self._scroll_update(total)

    def _forget_far(self, top: int, height: int) -> None:
        near = set(self._rows.within(top - 2 * height, 5 * height))
        made = [index for index, turn in enumerate(self.turns) if turn.is_made]
        if len(made) > _KEPT:
            for index in made:
                if index not in near:
                    self.turns[index].forget()
                    self._drop_strips(self.turns[index])

    def _size_updated(
        self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True
    ) -> bool:
        if size != self._size:
            self._strips.clear()
            self.lay_out(size)
        return super()._size_updated(size, virtual_size, container_size, layout)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follows the end where the reader is there, and makes the lines that came into view."""
        super().watch_scroll_y(old_value, new_value)
        if self._is_arranging:
            return
        self.is_following = new_value >= self.max_scroll_y
        self._has_more &= not self.is_following
        self._remember(round(new_value))
        self.lay_out()

    def follow(self) -> None:
        """Shows the end, and follows it."""
        self.is_following = True
        self._has_more = False
        self.lay_out()
        self.refresh()

    # Drawing

    def redraw(self, turn: Turn) -> None:
        """Draws what has changed of a message."""
        old_top, old_height = self.scroll_offset.y, self._rows.height
        self.lay_out()
        if not self.is_following and self._rows.height > old_height:
            self._has_more = True
        if self.scroll_offset.y != old_top:
            self.refresh()
            return
        row = 1 + self._rows.top(self.turns.index(turn)) + turn.changed_from - old_top
        height = self.size.height
        if row < height:
            self.refresh(Region(0, max(row, 0), self.size.width, height - max(row, 0)))
        elif self._has_more:
            self.refresh(Region(0, height - 1, self.size.width, 1))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()
        self._styles.clear()

    def _set_dirty(self, *regions: Region) -> None:
        """All of Textual's ways to have something drawn anew lead here."""
        if regions:
            for y in {y for region in regions for y in region.line_range}:
                self._frame.pop(y, None)
        else:
            self._frame.clear()
        super()._set_dirty(*regions)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows of the screen. Textual asks for all of them when anything beside them is drawn, such
        as a key in the prompt: they are kept, so that a frame costs what has changed in it."""
        missing = [y for y in crop.line_range if y not in self._frame]
        if missing:
            _, background = self.background_colors
            filters = self.get_line_filters()
            for y in missing:
                strip = self.render_line(y)
                for each in filters:
                    strip = strip.apply_filter(each, background)
                self._frame[y] = strip
        strips = [self._frame[y] for y in crop.line_range]
        if crop.column_span != (0, self.size.width):
            strips = [strip.crop(*crop.column_span) for strip in strips]
        return strips

    def render_line(self, y: int) -> Strip:
        """One row of the screen."""
        width = self.size.width
        if not self.turns:
            return self._greeting_line(y, width)
        if self._has_more and y == self.size.height - 1:
            more = Content.styled(_MORE, ".more").stylize(_FOLLOW)
            return self._centred(more, width)
        row = self.scroll_offset.y + y - 1
        if not 0 <= row < self._rows.height:
            return self._row(Content(""), Content(""), width)
        index = self._rows.at(row)
        turn = self.turns[index]
        number = row - self._rows.top(index)
        line = turn.lines(self._rows.width)[number]
        is_marked = turn is self.chosen and self.has_focus
        place = turn.id << _LINE_BITS | number
        margin = _CHOSEN[is_marked and number < turn.height(self._rows.width) - 1]
        if (selection := self.text_selection) is not None and (span := selection.get_span(place)):
            start, end = max(span[0], line.indent), span[1] if span[1] >= 0 else len(line.content)
            content = line.content
            if start < end:
                rules = self.screen.get_component_styles("screen--selection")
                content = content.stylize(Style.from_styles(rules), start, end)
            return self._row(margin + turn.margin(number), content, width, place)
        kept = self._strips.setdefault(turn.id, {})
        if (strip := kept.get((number, is_marked))) is None:
            strip = self._row(margin + turn.margin(number), line.content, width, place)
            kept[number, is_marked] = strip
        return strip

    def _row(self, margin: Content, content: Content, width: int, place: int = 0) -> Strip:
        """A row of the screen. `place`: of the text, for selecting it."""
        base = self.visual_style
        segments = [
            Segment(text, (base + style).rich_style)
            for text, style in margin.render(base, end="", parse_style=self._styled)
        ]
        at = 0
        for text, style in content.render(base, end="", parse_style=self._styled):
            segments.append(Segment(text, (base + style).rich_style_with_offset(at, place)))
            at += len(text)
        length = margin.cell_length + content.cell_length
        return Strip(segments, length).adjust_cell_length(width, base.rich_style)

    def _styled(self, style: Style | str) -> Style:
        """What a span's style stands for: one of the component classes, or theme variables."""
        if isinstance(style, Style):
            return style
        if (found := self._styles.get(style)) is None:
            if style.startswith("."):
                rules = self.get_component_styles(style[1:])
                found = Style.from_styles(rules)
                if not rules.has_rule("background"):
                    found = replace(found, background=None)
                if not rules.has_rule("color"):
                    found = replace(found, foreground=None)
            else:
                found = self._get_style(style)
            self._styles[style] = found
        return found

    def _drop_strips(self, turn: Turn, first: int = 0) -> None:
        kept = self._strips.get(turn.id, {})
        for key in [key for key in kept if key[0] >= first]:
            del kept[key]

    def _centred(self, content: Content, width: int) -> Strip:
        content = content.truncate(width, ellipsis=True)
        return self._row(Content(" " * ((width - content.cell_length) // 2)), content, width)

    def _greeting_line(self, y: int, width: int) -> Strip:
        number = y - max((self.size.height - 2 * len(self.greeting)) // 2, 0)
        if number % 2 or not 0 <= number < 2 * len(self.greeting):
            return self._row(Content(""), Content(""), width)
        style = ".hint" if number else ".greeting"
        return self._centred(Content.styled(self.greeting[number // 2], style), width)

    # Selecting text with the mouse

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text: without bars and bullets, long lines in one."""
        from localchat.tui.widgets.transcript.lines import joined

        parts: list[tuple[Line, int, int | None]] = []
        start, end = selection
        for turn in self.turns:
            first = turn.id << _LINE_BITS
            if (start and start.y >> _LINE_BITS > turn.id) or (end and end.y < first):
                continue
            for number, line in enumerate(turn.lines(self._rows.width)):
                if (span := selection.get_span(first | number)) is not None:
                    parts.append((line, span[0], None if span[1] == -1 else span[1]))
        return joined(parts), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draws it."""
        self.refresh()

    def select_turn(self, turn: Turn) -> None:
        """Selects the whole text of one message."""
        lines = turn.lines(self._rows.width)
        first = turn.id << _LINE_BITS
        end = Offset(len(lines[-1].content), first | (len(lines) - 1))
        self.screen.selections = {self: Selection(Offset(0, first), end)}

    def turn_at(self, row: int) -> Turn | None:
        """The message at a row of the screen."""
        place = self.scroll_offset.y + row - 1
        return self.turns[self._rows.at(place)] if 0 <= place < self._rows.height else None

    def make_visible(self, turn: Turn) -> None:
        """Scrolls as far as needed to see a message; of one that is too long, its beginning."""
        self._make(turn, self._rows.width)
        self.lay_out()
        height = self.scrollable_content_region.height
        top = 1 + self._rows.top(self.turns.index(turn)) - self.scroll_offset.y
        bottom = top + turn.height(self._rows.width)
        if top < 0 or bottom - top > height:
            self.go_to(turn, 1)
        elif bottom > height:
            self.go_to(turn, top + height - bottom)

    def go_to(self, turn: Turn, row: int) -> None:
        """Scrolls so that a message begins at a row of the screen, as far as that can be."""
        self._place = (turn, row)
        self.is_following = False
        self.lay_out()
        self.is_following = self.scroll_offset.y >= self.max_scroll_y
        self._has_more &= not self.is_following
        self.refresh()

    def show_turns(self, turns: Sequence[Turn]) -> None:
        """Draws these messages; the reader's place stays if its message is one of them."""
        before = self._rows.height
        self.turns[:] = turns
        self.lay_out()
        self._has_more |= not self.is_following and self._rows.height > before
        self.refresh()
