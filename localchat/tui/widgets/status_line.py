"""The last line of the chat screen: what happens, with which model, and how full its context is.

As the line gets narrower, what matters least is shortened first and then left out, in the order of
`_GIVING_WAY`. Nothing moves by itself here: there is no timer, the screen sets what has changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from localchat.tui.chats.live import Phase
from localchat.tui.widgets.one_line import cut, one_line

Form = tuple[tuple[str, str], ...]
"""Texts, each with the name of its style."""
Forms = tuple[Form, ...]
"""Of one part, the longest first."""

_GAP = 2  # cells between parts
_METER = 8  # cells of the context meter
_PREFILL = 6  # cells of the bar while the prompt is read
_TIGHT = 0.8  # of the context, from where on the meter warns
_SHORT_NAME = 16  # cells
_SHORT_NOTE = 24

_GIVING_WAY = (
    *("hint", "meter", "model", "note", "private", "state", "rate", "model"),
    *("meter", "note", "state", "model", "private", "meter"),
)
"""Which part takes its next shorter form next, until all fit."""


class StatusLine(Widget):
    """One line. What is unknown (None) or empty is not shown."""

    DEFAULT_CSS = """
    StatusLine {
        height: 1;
        padding: 0 1;
        background: $surface;
        color: $foreground;
        & > .status-line--quiet { color: $text-muted; }
        & > .status-line--active { color: $text-primary; }
        & > .status-line--tight { color: $text-warning; text-style: bold; }
        & > .status-line--full { color: $text-error; text-style: bold; }
        & > .status-line--private { color: $text-accent; }
        & > .status-line--bar { color: $primary; }
        & > .status-line--track { color: $foreground 25%; }
        &:ansi {
            background: ansi_default;
            color: ansi_default;
            & > .status-line--quiet { text-style: dim; color: ansi_default; }
            & > .status-line--track { text-style: dim; color: ansi_default; }
        }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "status-line--quiet",
        "status-line--active",
        "status-line--tight",
        "status-line--full",
        "status-line--private",
        "status-line--bar",
        "status-line--track",
    }

    phase: reactive[Phase] = reactive("idle")
    percent: reactive[float | None] = reactive[float | None](None)
    """Of the prompt that has been read: 0 to 100."""
    time_left: reactive[float | None] = reactive[float | None](None)
    """Seconds until the prompt is read."""
    rate: reactive[float | None] = reactive[float | None](None)
    """Tokens a second: of the reply that comes, or of the last one."""
    model: reactive[str] = reactive("")
    quantization: reactive[str] = reactive("")
    context_used: reactive[int | None] = reactive[int | None](None)
    """Tokens."""
    context_total: reactive[int | None] = reactive[int | None](None)
    """Tokens."""
    is_private: reactive[bool] = reactive(False)
    note: reactive[str] = reactive("")
    """Something short to know, such as "offline"."""
    hint: reactive[str] = reactive("")
    """A key and what it does, at the right."""

    # Whole numbers, which is what is shown: what does not change them does not paint the line.

    def validate_percent(self, percent: float | None) -> float | None:
        return None if percent is None else int(min(max(percent, 0), 100))

    def validate_time_left(self, seconds: float | None) -> float | None:
        return None if seconds is None else math.ceil(max(seconds, 0))

    def validate_rate(self, rate: float | None) -> float | None:
        return None if rate is None else round(rate, 1 if rate < 10 else None)

    def render(self) -> Content:
        return self.fitted(self.content_size.width)

    def fitted(self, width: int) -> Content:
        """What is shown in so many cells."""
        left = {
            "state": self._state(),
            "rate": self._rate(),
            "private": _words("private", *_PRIVATE, "") if self.is_private else (),
            "note": self._note(),
        }
        right = {
            "model": self._model(),
            "meter": self._meter(),
            "hint": _words("quiet", one_line(self.hint), ""),
        }
        chosen = _longest(left | right, width)
        start = self._row([chosen[name] for name in left])
        end = self._row([chosen[name] for name in right])
        between = " " * max(width - start.cell_length - end.cell_length, _GAP if end else 0)
        return (start + between + end).truncate(width, ellipsis=True)

    def _row(self, forms: list[Form]) -> Content:
        parts = [
            Content.assemble(*((text, self._style(name)) for text, name in form))
            for form in forms
            if _width(form)
        ]
        return Content(" " * _GAP).join(parts)

    def _style(self, name: str) -> Style:
        return self.get_visual_style(*([f"status-line--{name}"] if name else []))

    def _state(self) -> Forms:
        match self.phase:
            case "idle":
                return _words("quiet", "ready")
            case "loading":
                name = one_line(self.model)
                return _words("", f"loading {name} …", f"loading {cut(name, _SHORT_NAME)} …")
            case "prefill":
                return self._prefill()
            case "generating":
                return _words("active", "generating")
            case "stopping":
                return _words("", "stopping …")

    def _prefill(self) -> Forms:
        if self.percent is None:
            return _words("", "reading the prompt …", "reading …")
        percent = (f"{self.percent:.0f}%", "active")
        bar = _bar(self.percent / 100, _PREFILL, "bar")
        left = "" if self.time_left is None else f" · {_duration(self.time_left)} left"
        return (
            (("reading the prompt ", ""), *bar, (" ", ""), percent, (left, "")),
            (("reading ", ""), percent, (left, "")),
            (("reading ", ""), percent),
        )

    def _rate(self) -> Forms:
        return () if self.rate is None else _words("quiet", f"{self.rate:g} t/s", "")

    def _note(self) -> Forms:
        note = one_line(self.note)
        return _words("tight", note, cut(note, _SHORT_NOTE), "")

    def _model(self) -> Forms:
        """Not where the state names it."""
        name = one_line(self.model)
        if not name or self.phase == "loading":
            return ()
        short = _words("", name, cut(name, _SHORT_NAME), "")
        quantization = one_line(self.quantization)
        return (((name, ""), (f" · {quantization}", "quiet")), *short) if quantization else short

    def _meter(self) -> Forms:
        used, total = self.context_used or 0, self.context_total
        if not total:
            return ()
        name, bar, word = "quiet", "bar", ""
        if used >= total:
            name = bar = "full"
            word = " full"
        elif used >= total * _TIGHT:
            name = bar = "tight"
            word = " nearly full"
        numbers = (f"{used:,}/{total:,}{word}", name)
        share = (f"{used / total:.0%}{' full' if word else ''}", name)
        return ((*_bar(used / total, _METER, bar), (" ", ""), numbers), (numbers,), (share,), ())


_PRIVATE = ("incognito: nothing is kept", "incognito")


def _words(name: str, *forms: str) -> Forms:
    return tuple(((form, name),) for form in forms)


def _width(form: Form) -> int:
    return sum(cell_len(text) for text, _ in form)


def _bar(ratio: float, cells: int, name: str) -> Form:
    """What has begun shows, and only what is full looks full."""
    done = min(max(round(ratio * cells), 1 if ratio > 0 else 0), cells if ratio >= 1 else cells - 1)
    return (("█" * done, name), ("░" * (cells - done), "track"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _longest(parts: Mapping[str, Forms], width: int) -> dict[str, Form]:
    """The longest forms that have room side by side."""
    left = {name: [*forms] or [()] for name, forms in parts.items()}
    for name in _GIVING_WAY:
        shown = [cells for forms in left.values() if (cells := _width(forms[0]))]
        if sum(shown) + _GAP * (len(shown) - 1) <= width:
            break
        if len(left[name]) > 1:
            del left[name][0]
    return {name: forms[0] for name, forms in left.items()}
