"""How a model is written: its row in a list of any width, and what is said of it elsewhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual.content import Content

from localchat.registry.catalogue.listing import count
from localchat.registry.fitting.ranking import size
from localchat.tui.models.choices import Choice
from localchat.tui.models.downloads import Download
from localchat.tui.widgets.one_line import cut, one_line

_GAP = 2  # cells between two columns
_INDENT = 2  # cells, of which the mark of the current model takes one
_LEAST_NAME = 22  # cells: rather than cut it to less, columns go
_BAR = 20  # cells
_TAGS = 11  # cells: the longest tag
_QUIET = "$foreground-muted"
_TITLES = {
    "weights": "weights",
    "quantization": "quant",
    "size": "size",
    "context": "context",
    "speed": "tokens/s",
}
# What the width has no room for goes, in this order; it is said of the highlighted one below.
_DISPENSABLE = ("weights", "context", "quantization", "size", "speed")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns there are, and how many cells each takes."""

    name: int
    widths: dict[str, int]
    """Of the others, in their order."""

    @classmethod
    def fitting(cls, choices: Iterable[Choice], width: int) -> Columns:
        """For rows of so many cells."""
        longest = max((len(each.name) for each in choices), default=0)
        widths = {"weights": 7, "quantization": 7, "size": 7, "context": 7, "speed": 8}
        room = width - _INDENT - _GAP - _TAGS
        for column in _DISPENSABLE:
            left = room - sum(each + _GAP for each in widths.values())
            if left >= min(longest, _LEAST_NAME):
                break
            del widths[column]
        left = room - sum(each + _GAP for each in widths.values())
        return cls(max(1, min(longest, left)), widths)

    def heading(self, title: str, *, is_first: bool) -> Content:
        """The title of some rows; the first one stands beside those of the columns."""
        parts: list[tuple[str, str]] = [(f"{title:{self.name + _INDENT}}", "bold")]
        if not is_first:
            return Content.assemble(*parts)
        parts += [
            (" " * _GAP + self._aligned(column, _TITLES[column]), _QUIET) for column in self.widths
        ]
        return Content.assemble(*parts)

    def row(
        self, choice: Choice, *, is_current: bool, is_running: bool, offsets: Sequence[int] = ()
    ) -> Content:
        """`offsets`: the characters of the name that were looked for."""
        name = Content(f"{cut(one_line(choice.name), self.name):{self.name}}")
        for offset in offsets:
            name = name.stylize("bold underline", offset, offset + 1)
        mark = ("• " if is_current else "  ", "$accent")
        values = _values(choice)
        parts = [
            (" " * _GAP + self._aligned(column, values[column]), _QUIET) for column in self.widths
        ]
        tag = _tag(choice, is_current=is_current, is_running=is_running)
        parts.append((" " * _GAP + tag, "$text-accent" if choice.recommended else _QUIET))
        return Content.assemble(mark, name, *parts)

    def _aligned(self, column: str, text: str) -> str:
        width = self.widths[column]
        return f"{cut(one_line(text), width):{'<' if column == 'quantization' else '>'}{width}}"


def facts(choice: Choice) -> str:
    """All that is known of it, in a line or two."""
    values = _values(choice)
    known = [
        f"{values['weights']} weights" if choice.parameters else "",
        one_line(values["quantization"]),
        values["size"] + ("" if choice.is_installed else " to download") if choice.size else "",
        f"context {choice.context_length:,}" if choice.context_length else "",
        f"{choice.speed} tokens/s" if choice.speed else "",
        ", ".join(choice.reasons),
    ]
    said = " · ".join(each for each in known if each)
    notes = [choice.recommended, one_line(choice.licence_note or "")]
    return "\n".join([said, *(note for note in notes if note)])


def below(lines: Iterable[tuple[str, str]], width: int) -> Content:
    """(Text, style) each, as further lines of a row of so many cells."""
    indent = " " * (_INDENT + 2)
    wrapped = [
        (f"\n{indent}{line}", style)
        for text, style in lines
        for line in textwrap.wrap(one_line(text), max(1, width - len(indent)), max_lines=4)
    ]
    return Content.assemble(*wrapped)


def bar(download: Download) -> Content:
    """How far it is, in a further line of its row."""
    share = min(1.0, download.done / download.total) if download.total else 0.0
    full = round(share * _BAR)
    return Content.assemble(
        "\n" + " " * (_INDENT + 2),
        ("━" * full, "$accent"),
        ("─" * (_BAR - full), "$foreground-disabled"),
    )


def _values(choice: Choice) -> dict[str, str]:
    guess = "~" if choice.is_estimated else ""
    return {
        "weights": count(choice.parameters) if choice.parameters else "",
        "quantization": choice.quantization,
        "size": guess + size(choice.size) if choice.size else "",
        "context": f"{round(choice.context_length / 1024)}k" if choice.context_length else "",
        "speed": choice.speed,
    }


def _tag(choice: Choice, *, is_current: bool, is_running: bool) -> str:
    if is_running:
        return "running"
    if is_current:
        return "current"
    if choice.recommended:
        return "recommended"
    if choice.verdict == "tight" and not choice.is_installed:
        return "tight"
    return choice.kind if choice.kind not in (None, "chat") else ""
