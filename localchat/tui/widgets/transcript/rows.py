"""Which message is at which row of a transcript."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localchat.tui.widgets.transcript.turn import Turn


class Rows:
    """Messages beneath each other, in so many columns. Heights are exact where they were drawn."""

    def __init__(self, turns: Sequence[Turn] = (), width: int = 0) -> None:
        self.turns = turns
        self.width = width
        self._tops = [0, *accumulate(turn.height(width) for turn in turns)]

    @property
    def height(self) -> int:
        """Of all of them."""
        return self._tops[-1]

    def top(self, index: int) -> int:
        """The row that a message begins at."""
        return self._tops[index]

    def at(self, row: int) -> int:
        """The index of the message at a row; the nearest one outside."""
        index = bisect_right(self._tops, row) - 1
        return max(min(index, len(self.turns) - 1), 0)

    def within(self, row: int, height: int) -> Iterator[int]:
        """Indices of the messages in a range of rows."""
        if self.turns:
            yield from range(self.at(row), self.at(row + height - 1) + 1)
