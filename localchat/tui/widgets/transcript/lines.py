"""Lines as they are on the screen, and how text becomes such lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from textual.content import Content

_PIECE = 2_000  # characters that are wrapped in one go: what one line of a text costs at most
_TAB = 4
_NOTHING = Content("")


class Line(NamedTuple):
    """One row of text, never wider than what it was made for."""

    content: Content
    indent: int = 0
    """Characters at its beginning that are no part of the text: bars, bullets, blanks."""
    before: str = "\n"
    """What stands between it and the line above it in the text: nothing or a blank where a long
    line was wrapped."""

    def within(self, prefix: Content) -> Line:
        """It with `prefix` before it."""
        return Line(prefix + self.content, self.indent + len(prefix), self.before)


BLANK = Line(Content(""))


def wrap(content: Content, width: int) -> list[Line]:
    """The lines of `content`, broken between words; a word that is too long is broken."""
    result = []
    for line in content.split("\n", allow_blank=True):
        expanded = line.expand_tabs(_TAB) if "\t" in line.plain else line
        if expanded.cell_length <= width:
            result.append(Line(expanded))
            continue
        plain, at, before = expanded.plain, 0, "\n"
        for part in expanded.wrap(max(width, 1)):
            result.append(Line(part, before=before))
            at += len(part.plain)
            rest = len(plain) - len(plain[at:].lstrip(" "))
            before, at = (" ", rest) if rest > at else ("", at)
    return result


def wrap_plain(
    text: str, width: int, style: str = "", prefix: Content = _NOTHING
) -> Iterator[Line]:
    """The lines of a text that is nothing but text, however long its lines are."""
    for line in text.split("\n"):
        for number, piece in enumerate(_pieces(line)):
            lines = _wrapped(piece, width, style, prefix)
            if number:
                yield lines[0]._replace(before="")
            yield from lines[1:] if number else lines


def joined(lines: Sequence[tuple[Line, int, int | None]]) -> str:
    """The text in parts of lines: (the line, its first character, the one after the last)."""
    result: list[str] = []
    for line, start, end in lines:
        if result:
            result.append(line.before)
        result.append(line.content.plain[max(start, line.indent) : end].rstrip())
    return "".join(result)


def prefixed(lines: Iterable[Line], prefix: Content, first: Content | None = None) -> list[Line]:
    """`lines` with `prefix` before each; `first` before the first one."""
    return [
        line.within(first if first is not None and not number else prefix)
        for number, line in enumerate(lines)
    ]


@lru_cache(maxsize=1024)
def _wrapped(text: str, width: int, style: str, prefix: Content) -> tuple[Line, ...]:
    content = Content.styled(text, style) if style else Content(text)
    lines = wrap(content, width - prefix.cell_length)
    return tuple(prefixed(lines, prefix) if prefix else lines)


def _pieces(line: str) -> list[str]:
    return [line[start : start + _PIECE] for start in range(0, len(line), _PIECE)] or [""]
