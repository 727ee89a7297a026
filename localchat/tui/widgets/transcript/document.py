"""A Markdown text that grows: only its end is parsed again."""

from __future__ import annotations

from localchat.tui.widgets.transcript.blocks import Block, Placed, References, opened, parse

_LONGEST = 64_000  # characters, and
_MOST_LINES = 2_000  # lines that are read as Markdown: some 16,000 tokens


def markdown_length(text: str) -> int:
    """How many characters at the beginning of `text` are read as Markdown."""
    if len(text) <= _LONGEST and text.count("\n") <= _MOST_LINES:
        return len(text)
    first = text[:_LONGEST]
    if first.count("\n") > _MOST_LINES:
        return len(first) - len(first.split("\n", _MOST_LINES)[-1])
    return first.rfind("\n") + 1 or len(first)


class Document:
    """What has come of a text, as blocks; always the same as parsing all of it at once.

    A line that is complete and begins a block (or an item of a list) closes all before it for
    good. A line that is not complete yet decides nothing: `*` begins a list, `**word**` does not.
    """

    def __init__(self) -> None:
        self.source = ""
        self.is_open = True
        """Whether more was to come when something came last."""
        self.blocks: list[Block] = []
        self._settled: References = ()
        self._pending: References = ()
        self._closed = 0  # blocks that can't change
        self._tail = 0  # where in the source the first other one begins
        self._first: Placed | None = None  # that one, as it was found
        self._lines = 0  # complete lines in the source when it was last looked for

    @property
    def references(self) -> References:
        """Definitions of links; the first one of a label counts."""
        return self._settled + self._pending

    def append(self, text: str, *, is_open: bool = True) -> int:
        """Adds to the end. Returns how many blocks at the beginning stayed as they were.

        `is_open`: more is to come.
        """
        self.source += text
        self.is_open = is_open
        tail = self.source[self._tail :]
        parsed = parse(tail, self._first)
        found = parsed.blocks
        kept = self._closed
        blocks = [placed.block for placed in found]
        if blocks and is_open:
            blocks[-1] = opened(blocks[-1])
        self.blocks[kept:] = blocks
        references_before = self.references
        self._pending = parsed.references
        lines = self.source.count("\n", self._tail)
        if len(found) > 1 and lines != self._lines:
            self._lines = lines
            self._close(tail)
        if self.references != references_before:
            return 0
        return kept

    def _close(self, tail: str) -> None:
        complete = tail[: tail.rfind("\n") + 1]
        found = parse(complete, self._first).blocks
        if len(found) < 2:
            return
        last = found[-1]
        lines = complete.split("\n")[: last.line]
        length = sum(len(line) + 1 for line in lines)
        if self._pending:
            settled = parse(complete[:length]).references
            self._settled += settled
            self._pending = self._pending[len(settled) :]
        self._closed += len(found) - 1
        self._tail += length
        self._first = last
        self._lines = self.source.count("\n", self._tail)
