"""Many lines, made for the width there is, and drawn where they are seen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

Line = Sequence[tuple[str, str]]
"""Texts, each with the name of the component class that it is drawn in; "" is the widget's own."""


class Lines(ScrollView, can_focus=True):
    """Made of what `lines` returns; `rebuild` asks for it again."""

    DEFAULT_CSS = """
    Lines {
        width: 1fr;
        height: 1fr;
        overflow-x: hidden;
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        background: transparent;
    }
    """

    _drawn: Sequence[Line] = ()

    def lines(self, width: int) -> Sequence[Line]:
        """All of them, for so many cells."""
        raise NotImplementedError

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self.virtual_size.width:
            self.rebuild()

    def rebuild(self) -> None:
        width = self.scrollable_content_region.width
        self._drawn = self.lines(width) if width > 0 else ()
        self.virtual_size = Size(width, len(self._drawn))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = y + self.scroll_offset.y
        line = self._drawn[row] if row < len(self._drawn) else ()
        segments = [
            Segment(text, self.get_component_rich_style(name) if name else self.rich_style)
            for text, name in line
        ]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)
