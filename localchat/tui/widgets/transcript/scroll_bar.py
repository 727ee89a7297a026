"""The scrollbar beside the transcript."""

from __future__ import annotations

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.strip import Strip


class LineBar(ScrollBar):
    """Textual's, drawn as lines, and only where it looks different: it changes with every line of
    a reply, and took twice as long as the text beside it."""

    _made_of: object = None
    _strips: list[Strip]

    def render_lines(self, crop: Region) -> list[Strip]:
        rows = self._rows(*self.size)
        _, background = self.background_colors
        filters = list(self.get_line_filters())
        if self._made_of != (rows, background, filters):
            self._made_of = (rows, background, filters)
            self._strips = [Strip([row], self.size.width) for row in rows]
            for each in filters:
                self._strips = [strip.apply_filter(each, background) for strip in self._strips]
        return self._strips[crop.y : crop.bottom]

    def _rows(self, width: int, height: int) -> list[Segment]:
        bar = self.render()
        assert isinstance(bar, ScrollBarRender)
        assert isinstance(bar.style, Style)
        segments = bar.render_bar(
            size=height,
            virtual_size=bar.virtual_size,
            window_size=bar.window_size,
            position=bar.position,
            thickness=width,
            back_color=bar.style.bgcolor or Color.default(),
            bar_color=bar.style.color or Color.default(),
        ).segments
        return [*Segment.apply_style(segments, self.visual_style.rich_style)]
