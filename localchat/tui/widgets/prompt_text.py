"""A prompt as the model sees it, with what the template has added set apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells

from localchat.sanitize import clean
from localchat.tui.chats.context import ContextUse
from localchat.tui.widgets.lines import Line, Lines

_TAB = "    "
_TEMPLATE = "prompt-text--template"


class PromptText(Lines):
    """All of the text, wrapped between words where it can be."""

    DEFAULT_CSS = """
    PromptText {
        padding: 0 0 0 2;
        & > .prompt-text--template { color: $text-primary; text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {_TEMPLATE}

    def __init__(self, use: ContextUse) -> None:
        super().__init__(id="prompt")
        self._lines: list[list[tuple[str, str]]] = [[]]
        for text, is_template in use.parts:
            name = _TEMPLATE if is_template and use.said else ""
            first, *others = clean(text).replace("\t", _TAB).split("\n")
            self._lines[-1].append((first, name))
            self._lines += ([(line, name)] for line in others)

    def lines(self, width: int) -> Sequence[Line]:
        return [row for line in self._lines for row in _wrapped(line, width)]


def _wrapped(line: Line, width: int) -> Iterator[Line]:
    text = "".join(piece for piece, _ in line)
    breaks = _wide_breaks(text, width) if cell_len(text) != len(text) else _breaks(text, width)
    for start, end in itertools.pairwise([0, *breaks, len(text)]):
        row, place = [], 0
        for piece, name in line:
            part = piece[max(start - place, 0) : max(end - place, 0)]
            row.append((part, name))
            place += len(piece)
        yield row


def _breaks(text: str, width: int) -> list[int]:
    """Where lines end in a text of one cell a character."""
    breaks = []
    start = 0
    while len(text) - start > width:
        space = text.rfind(" ", start, start + width + 1)
        start = space + 1 if space >= start else start + width
        breaks.append(start)
    return breaks


def _wide_breaks(text: str, width: int) -> list[int]:
    ends = itertools.accumulate(map(len, chop_cells(text, width)))
    return [end for end in ends if 0 < end < len(text)]  # 0: a character wider than the line
