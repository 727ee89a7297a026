"""What a model thought before it answered: one line, or all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from textual.content import Content

from localchat.tui.widgets.transcript.lines import Line, wrap_plain

_PREFIX = Content.styled("│ ", ".muted")


class Thinking:
    """Knows how long a thought took, where it was seen to come."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._seconds: float | None = None
        self._tokens: int | None = None

    def follow(self, reasoning: str, has_answer: bool, tokens: int) -> None:
        """Takes what has come so far. `tokens`: of the whole reply."""
        if not reasoning:
            return
        if self._began is None:
            # Where the answer is there already, the thought was over before we looked.
            self._began = self._clock() if not has_answer else None
        if not has_answer:
            self._tokens = tokens
        elif self._began is not None and self._seconds is None:
            self._seconds = self._clock() - self._began
            self._tokens = None

    def stop(self) -> None:
        """No more comes of the reply."""
        self.follow("stopped", True, 0)

    def head(self, reasoning: str, width: int, *, is_open: bool) -> str:
        """The line that stands for it."""
        mark = "▾" if is_open else "▸"
        if self._tokens is None:
            return f"{mark} {self._title()}"[:width]
        title = f"{mark} Thinking · {self._tokens:,} tokens"
        if is_open:
            return title[:width]
        last = Content(f"{title} · {_last_line(reasoning)}")
        return last.truncate(width, ellipsis=True).plain

    def _title(self) -> str:
        if self._seconds is None:
            return "Thought"
        seconds = max(round(self._seconds), 1)
        if seconds < 60:
            return f"Thought for {seconds} s"
        return f"Thought for {seconds // 60} min {seconds % 60} s"

    def lines(self, reasoning: str, width: int) -> Iterator[Line]:
        """All of it, as plain text."""
        return wrap_plain(reasoning.strip("\n"), width, ".muted", _PREFIX)


def _last_line(text: str) -> str:
    text = text.rstrip()[-400:]
    return " ".join(text[text.rfind("\n") + 1 :].split())
