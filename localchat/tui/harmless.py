"""The last look at what goes to the terminal: nothing that text from outside could command it by.

Widgets clean what they are given. This stands behind all of them, those of libraries too.
"""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from localchat.sanitize import clean


class Harmless(LineFilter):
    """Drops control characters, and hyperlinks that the terminal would follow."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        del background
        return [_harmless(segment) for segment in segments]


def _harmless(segment: Segment) -> Segment:
    text, style, control = segment
    if control:
        return segment
    cleaned = clean(text)
    if style is not None and style.link:
        return Segment(cleaned, style.update_link(None))
    return segment if cleaned == text else Segment(cleaned, style)
