"""Everything that reaches the user's terminal goes through here, cleaned.

Answers go to stdout; notes, progress and errors to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from localchat.sanitize import clean, escape

_BOLD = "\x1b[1m", "\x1b[0m"
_encoding = "utf-8"


def prepare() -> None:
    """Makes both streams UTF-8 whatever the locale; what can't be encoded becomes '?'."""
    global _encoding
    _encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def write(text: str) -> None:
    """Part of an answer, at once."""
    _stdout().write(clean(text))
    _stdout().flush()


def line(text: str = "") -> None:
    """A line of an answer."""
    _stdout().write(clean(text) + "\n")


def marked_line(text: str, marks: Iterable[tuple[int, int]]) -> None:
    """A line of an answer with parts of it, from and to, in bold where that can be shown."""
    on, off = _BOLD if _is_styled() else ("", "")
    place, pieces = 0, []
    for start, end in marks:
        pieces += [clean(text[place:start]), on, clean(text[start:end]), off]
        place = end
    _stdout().write("".join(pieces) + clean(text[place:]) + "\n")


def heading(text: str) -> None:
    """A line of an answer that stands over others."""
    marked_line(text, [(0, len(text))])


def can_draw(text: str) -> bool:
    """Whether stdout's own encoding, that of the locale, has these characters."""
    try:
        text.encode(_encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_terminal() -> bool:
    """Whether somebody looks at the answer."""
    return sys.stdout is not None and sys.stdout.isatty()


def json_line(value: Any) -> None:
    """One JSON value on a line of its own; characters a terminal would obey are escaped."""
    _stdout().write(escape(json.dumps(value, ensure_ascii=False)) + "\n")


def note(text: str) -> None:
    """A line beside the answer."""
    _say(text)


def complain(message: str, hint: str | None = None) -> None:
    """An error: what happened, and what to type next."""
    _say(f"Error: {message}")
    if hint:
        _say(f"Try: {hint}")


def interrupted() -> None:
    """Ends the line that the terminal's ^C stands in."""
    if sys.stderr is not None and sys.stderr.isatty():
        _say("")


def finish() -> None:
    """Flushes, so that a reader that has gone is noticed here and not at exit."""
    if sys.stdout is not None:
        sys.stdout.flush()


def abandon() -> None:
    """Nobody reads stdout any more: the interpreter's own flush at exit must not complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())


class Status:
    """One line on a terminal's stderr that says what is waited for; elsewhere, nothing.

    It is gone when the `with` block ends.
    """

    def __init__(self, text: str) -> None:
        self._on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._shown = ""
        self.show(text)

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str) -> None:
        if self._on_terminal and text != self._shown:
            sys.stderr.write(f"\r\x1b[K{clean(text)}")
            sys.stderr.flush()
            self._shown = text

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = ""


class Reasoning:
    """What a model thinks, dim on a terminal's stderr; elsewhere, nothing."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown and sys.stderr is not None and sys.stderr.isatty()
        self._is_open = False

    def write(self, text: str) -> None:
        if self._is_shown:
            sys.stderr.write(f"\x1b[2m{clean(text)}\x1b[0m")
            sys.stderr.flush()
            self._is_open = True

    def end(self) -> None:
        """The answer begins, on a line of its own."""
        if self._is_open:
            sys.stderr.write("\n\n")
            sys.stderr.flush()
            self._is_open = False


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()


def _is_styled() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise OSError("standard output is closed")
    return sys.stdout
