"""How a block of Markdown is drawn; its text is clean already."""

from __future__ import annotations

from textual.content import Content

from localchat.tui.widgets.transcript.blocks import Block, References
from localchat.tui.widgets.transcript.code import code_lines
from localchat.tui.widgets.transcript.inline import LONGEST, inline
from localchat.tui.widgets.transcript.lines import BLANK, Line, prefixed, wrap, wrap_plain
from localchat.tui.widgets.transcript.table import table_lines

_QUOTE = Content.styled("│ ", ".muted")
_NARROWEST = 8  # columns that nested blocks keep
_MOST_CELLS = 4_000  # of a table: a larger one is shown row by row, as text


def block_lines(block: Block, width: int, references: References = ()) -> list[Line]:
    """The lines of `block`, without a blank one before it."""
    match block.kind:
        case "paragraph":
            return text_lines(block.text, width, references)
        case "heading":
            style = f".heading-{min(int(block.detail), 3)}"
            return text_lines(block.text, width, references, style)
        case "code":
            label = Content.styled(f"  {block.detail}"[:width].ljust(width), ".code-label")
            end = Content.styled(" " * width, ".code-block")
            code = code_lines(block.text, block.detail, width, is_open=block.is_open)
            return [Line(label, width), *code, Line(end, width)]
        case "rule":
            return [Line(Content.styled("─" * width, ".muted"))]
        case "quote":
            return prefixed(_stacked(block.children, width - 2, references), _QUOTE)
        case "item":
            marker = Content.styled(f"{block.detail} ", ".bullet")
            inner = _stacked(block.children, width - len(marker), references)
            return prefixed(inner, Content(" " * len(marker)), marker)
        case "table":
            return _table(block, width, references)
        case "plain":
            return list(wrap_plain(block.text, width))


def text_lines(source: str, width: int, references: References, style: str = "") -> list[Line]:
    """The lines of Markdown of the inline kind; too long to be read as such, they are plain."""
    if len(source) > LONGEST:
        return list(wrap_plain(source, width, style))
    content = inline(source, references)
    return wrap(content.stylize_before(style) if style else content, width)


def _table(block: Block, width: int, references: References) -> list[Line]:
    if len(block.rows) * len(block.detail) <= _MOST_CELLS:
        cells = [[_text(cell, references) for cell in row] for row in block.rows]
        if (lines := table_lines(cells, block.detail, width)) is not None:
            return lines
    plain = "\n".join(" | ".join(row) for row in block.rows)
    return list(wrap_plain(plain, width))


def _text(source: str, references: References) -> Content:
    return inline(source, references) if len(source) <= LONGEST else Content(source)


def _stacked(blocks: tuple[Block, ...], width: int, references: References) -> list[Line]:
    lines: list[Line] = []
    for block in blocks:
        if block.gap:
            lines.append(BLANK)
        lines.extend(block_lines(block, max(width, _NARROWEST), references))
    return lines or [BLANK]
