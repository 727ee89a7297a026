"""Code with highlighting, as lines."""

from __future__ import annotations

from functools import lru_cache

from textual.content import Content

from localchat.tui.widgets.transcript.lines import Line

_CHUNK = 24  # lines of code that grows which are highlighted together
_LONGEST = 40_000  # characters that are highlighted at all
_LONGEST_LINE = 2_000


def code_lines(code: str, language: str, width: int, *, is_open: bool) -> list[Line]:
    """The lines of a block of code, padded to `width`.

    `is_open`: more may come. Then it is highlighted in chunks, of which only the last one changes;
    what spans two of them, such as a long text literal, is not seen as such until it is all there.
    """
    code = code.expandtabs(4)
    if not is_open:
        return list(_chunk_lines(code, language, width))
    lines = code.split("\n")
    result: list[Line] = []
    for start in range(0, len(lines), _CHUNK):
        chunk = "\n".join(lines[start : start + _CHUNK])
        result.extend(_chunk_lines(chunk, language, width))
    return result


@lru_cache(maxsize=256)
def _chunk_lines(code: str, language: str, width: int) -> tuple[Line, ...]:
    pad = Content.styled("  ", ".code-block")
    room = max(width - 3, 1)
    result: list[Line] = []
    for line in _highlighted(code, language).split("\n", allow_blank=True):
        parts = line.fold(room) if line.cell_length > room else [line]
        for number, part in enumerate(parts):
            filled = part.pad_right(room + 1 - part.cell_length).stylize_before(".code-block")
            result.append(Line(pad + filled, 2, "" if number else "\n"))
    return tuple(result)


def _highlighted(code: str, language: str) -> Content:
    if not language or len(code) > _LONGEST:
        return Content(code)
    if any(len(line) > _LONGEST_LINE for line in code.split("\n")):
        return Content(code)
    from textual.highlight import highlight  # 20 ms, and most conversations have no code

    return highlight(code, language=language)
