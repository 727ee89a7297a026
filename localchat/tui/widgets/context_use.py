"""How full the context is, and which message takes how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.content import Content
from textual.style import Style
from textual.widget import Widget

from localchat.tui.chats.context import ContextUse, Cost
from localchat.tui.widgets.lines import Line, Lines
from localchat.tui.widgets.one_line import cut, one_line

_VOICES = {"system": "System", "user": "You", "assistant": "Assistant"}
_ROLE = 11  # cells
_GAP = 2  # cells between columns
_WIDEST_BAR = 24  # cells
_BAR_FROM = 44  # cells, from where on there is room for bars
_WORDS_FROM = 64  # cells, from where on there is room for all the words of the legend


class Meter(Widget):
    """The whole context as a bar, and what its parts are."""

    DEFAULT_CSS = """
    Meter {
        height: 3;
        padding: 0 2;
        & > .meter--messages { color: $primary; }
        & > .meter--template { color: $secondary; }
        & > .meter--left { color: $foreground 25%; }
        & > .meter--quiet { color: $text-muted; }
        & > .meter--full { color: $text-error; text-style: bold; }
        &:ansi > .meter--left, &:ansi > .meter--quiet {
            color: ansi_default;
            text-style: dim;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "meter--messages",
        "meter--template",
        "meter--left",
        "meter--quiet",
        "meter--full",
    }

    def __init__(self, use: ContextUse) -> None:
        super().__init__()
        self._use = use

    def render(self) -> Content:
        width = self.content_size.width
        return Content("\n").join([self._bar(width), self._total(), self._legend(width)])

    def _bar(self, width: int) -> Content:
        use = self._use
        whole = max(use.context, use.prompt_tokens, 1)
        sent = round(width * use.prompt_tokens / whole)
        messages = min(round(width * use.messages / whole), sent)
        return Content.assemble(
            ("█" * messages, self._style("messages")),
            ("▓" * (sent - messages), self._style("template")),
            ("░" * (width - sent), self._style("left")),
        )

    def _total(self) -> Content:
        use = self._use
        share = f" · {use.prompt_tokens / use.context:.0%}" if use.context else ""
        total = f"{use.prompt_tokens:,} of {use.context:,} tokens{share}"
        return Content.assemble((total, self._style("full"))) if use.is_too_long else Content(total)

    def _legend(self, width: int) -> Content:
        use = self._use
        left = "left for the reply" if width >= _WORDS_FROM else "left"
        parts = [
            Content.assemble((glyph, self._style(name)), (f" {text} {n:,}", self._style("quiet")))
            for glyph, name, text, n in (
                ("█", "messages", "messages", use.messages),
                ("▓", "template", "template", use.template),
                ("░", "left", left, use.left),
            )
        ]
        return Content(" " * 3).join(parts).truncate(width, ellipsis=True)

    def _style(self, name: str) -> Style:
        return self.get_visual_style(f"meter--{name}")


class Costs(Lines):
    """One line for each message."""

    DEFAULT_CSS = """
    Costs {
        padding: 0 0 0 2;
        & > .costs--role { color: $text-muted; }
        & > .costs--tokens { color: $text-muted; }
        & > .costs--bar { color: $primary; }
        & > .costs--dropped { color: $text-disabled; }
        &:ansi > .costs--role, &:ansi > .costs--tokens, &:ansi > .costs--dropped {
            color: ansi_default;
            text-style: dim;
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "costs--role",
        "costs--tokens",
        "costs--bar",
        "costs--dropped",
    }

    def __init__(self, use: ContextUse) -> None:
        super().__init__(id="costs")
        self._use = use

    def lines(self, width: int) -> Sequence[Line]:
        costs = self._use.costs
        numbers = max((len(f"{cost.tokens:,}") for cost in costs), default=0)
        bar = min(width // 4, _WIDEST_BAR) if width >= _BAR_FROM else 0
        most = max((cost.tokens for cost in costs), default=0)
        words = max(width - _ROLE - _GAP - numbers - (bar + _GAP if bar else 0) - 1, 0)
        return [self._line(cost, words, numbers, bar, most) for cost in costs]

    def _line(self, cost: Cost, words: int, numbers: int, bar: int, most: int) -> Line:
        text = cut(one_line(cost.words), words)
        if cost.is_dropped:
            what = "summarised" if self._use.is_summarised else "left out"
            text = cut(f"{what} · {one_line(cost.words)}", words)
        text += " " * (words - cell_len(text) + _GAP)
        filled = max(round(bar * cost.tokens / most), 1) if cost.tokens and bar else 0
        pieces = [
            (f"{_VOICES[cost.role]:{_ROLE}}", "role"),
            (text, ""),
            (f"{cost.tokens:{numbers},}", "tokens"),
            (" " * _GAP + ("░" if cost.is_dropped else "█") * filled, "bar"),
        ]
        return [
            (piece, "costs--dropped" if cost.is_dropped else f"costs--{name}" if name else "")
            for piece, name in pieces
        ]
