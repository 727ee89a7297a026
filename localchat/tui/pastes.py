"""Pasted text as one piece, whatever is in it.

Textual reads it letter by letter: some seconds for a megabyte. And an escape character within it
makes Textual take the letters that follow for keys, so that text from outside could press Enter.
"""

from __future__ import annotations

from collections.abc import Iterator

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers import linux_driver
from textual.message import Message


class PasteParser(XTermParser):
    """Textual's reader of what the terminal sends, but for pasted text."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pieces: list[str] | None = None
        """Of a paste so far; None outside one."""
        self._tail = ""
        """Its last letters, where its end may have begun."""

    def feed(self, data: str) -> Iterator[Message]:
        if not data:
            yield from super().feed(data)
        while data:
            if self._pieces is None:
                typed, start, data = data.partition(BRACKETED_PASTE_START)
                if typed:
                    yield from super().feed(typed)
                if start:
                    self._pieces, self._tail = [], ""
                continue
            ahead = self._tail + data
            found = ahead.find(BRACKETED_PASTE_END)
            if found < 0:
                self._pieces.append(data)
                self._tail = ahead[1 - len(BRACKETED_PASTE_END) :]
                return
            end = found + len(BRACKETED_PASTE_END) - len(self._tail)
            text = "".join([*self._pieces, data[:end]]).removesuffix(BRACKETED_PASTE_END)
            self._pieces = None
            yield events.Paste(text.replace("\0", ""))
            data = data[end:]


def take_whole() -> None:
    """Makes applications that are begun after this read pasted text so."""
    linux_driver.XTermParser = PasteParser  # type: ignore[attr-defined]
