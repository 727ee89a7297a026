"""Tables: columns as wide as they need, narrower where there is no room."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from localchat.tui.widgets.transcript.lines import Line, wrap

_BETWEEN = "   "
_NARROWEST = 4


def table_lines(rows: Sequence[Sequence[Content]], aligned: str, width: int) -> list[Line] | None:
    """The lines of a table, the first row of which is its head; None: it is too narrow here."""
    columns = len(aligned)
    room = width - len(_BETWEEN) * (columns - 1)
    if room < columns * _NARROWEST:
        return None
    needed = [
        max(row[column].cell_length if column < len(row) else 0 for row in rows)
        for column in range(columns)
    ]
    widths = _shared(needed, room)
    head, *body = rows
    lines = _row([cell.stylize_before(".strong") for cell in head], widths, aligned)
    lines.append(
        Line(Content.styled("─" * (sum(widths) + len(_BETWEEN) * (columns - 1)), ".muted"))
    )
    for row in body:
        lines.extend(_row(row, widths, aligned))
    return lines


def _shared(needed: list[int], room: int) -> list[int]:
    """Widths that fit: columns that need less than their share leave the rest to the others."""
    widths = [0] * len(needed)
    for left, column in enumerate(sorted(range(len(needed)), key=needed.__getitem__), 1):
        widths[column] = max(min(needed[column], room // (len(needed) - left + 1)), 1)
        room -= widths[column]
    return widths


def _row(cells: Sequence[Content], widths: list[int], aligned: str) -> list[Line]:
    columns = [
        [line.content for line in wrap(cell, width)] if cell.cell_length > width else [cell]
        for cell, width in zip(cells, widths, strict=False)
    ]
    lines = []
    for number in range(max(map(len, columns), default=0)):
        parts = [
            _placed(column[number] if number < len(column) else Content(""), width, side)
            for column, width, side in zip(columns, widths, aligned, strict=False)
        ]
        lines.append(Line(Content(_BETWEEN).join(parts)))
    return lines


def _placed(content: Content, width: int, side: str) -> Content:
    free = width - content.cell_length
    if side == "r":
        return content.pad_left(free)
    if side == "c":
        return content.pad(free // 2, free - free // 2)
    return content.pad_right(free)
