"""The block structure of Markdown as values; what is inside a paragraph comes when it is drawn.

Only the first phase of CommonMark runs here. It takes time proportional to the text, whatever is
in it; the inline phase is the one that some texts make slow, and it is bounded in `inline`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Kind = Literal["paragraph", "heading", "code", "rule", "quote", "item", "table", "plain"]
References = tuple[tuple[str, str], ...]
"""Link reference definitions: (label, address)."""

_NESTING = 20  # levels of containers: what is nested deeper is shown as it was written
_BULLETS = ("•", "◦", "▪")


@dataclass(frozen=True, slots=True)
class Block:
    """One block. A list has no block of its own: its items follow each other."""

    kind: Kind
    text: str = ""
    """Markdown of the inline kind, code, or plain text."""
    detail: str = ""
    """Of a heading its level, of code its language, of an item its marker, of a table how the
    columns are aligned: a letter l, c or r each."""
    children: tuple[Block, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """Of a table, the head first."""
    gap: bool = False
    """Whether a blank line comes before it."""
    is_open: bool = False
    """Whether more of it may come: its code is not yet highlighted as a whole."""


class Placed(NamedTuple):
    """A block, and where it begins."""

    line: int
    block: Block
    continues: int | None
    """Of an item that is not its list's first one, its number; 0 in a list of bullets."""


class Parsed(NamedTuple):
    """What a text consists of."""

    blocks: list[Placed]
    references: References


def parse(source: str, following: Placed | None = None) -> Parsed:
    """The blocks of `source`.

    `following`: the block that the first one was, where the text before it was known.
    """
    environment: dict[str, dict[str, dict[str, str]]] = {}
    tokens = _parser().parse(source, environment)
    found = [
        (label, reference["href"]) for label, reference in environment.get("references", {}).items()
    ]
    return Parsed(_Builder(tokens, source.split("\n"), following).top(), tuple(found))


def opened(block: Block) -> Block:
    """`block` as one that more may come of."""
    if block.kind == "code":
        return replace(block, is_open=True)
    if block.children:
        return replace(block, children=(*block.children[:-1], opened(block.children[-1])))
    return block


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # 30 ms, and an empty screen needs none

    parser = MarkdownIt("commonmark", {"maxNesting": _NESTING, "html": False})
    parser.enable("table")
    return parser.disable(["inline", "text_join"])


class _Builder:
    """Makes a tree of what the parser says in a row."""

    def __init__(self, tokens: list[Token], lines: list[str], following: Placed | None) -> None:
        self._tokens = tokens
        self._lines = lines
        self._following = following
        self._at = 0

    def top(self) -> list[Placed]:
        result: list[Placed] = []
        while self._at < len(self._tokens):
            result.extend(self._next(depth=0, is_top=True, is_first=not result))
        if result and self._following is not None:
            first = replace(result[0].block, gap=self._following.block.gap)
            result[0] = Placed(result[0].line, first, self._following.continues)
        return result

    def _next(self, depth: int, *, is_top: bool = False, is_first: bool) -> Iterator[Placed]:
        """The next block, or the items of the next list."""
        token = self._tokens[self._at]
        start, end = token.map or (0, 0)
        gap = not is_first and (is_top or self._is_blank(start - 1))
        if is_top and (after := self._after_too_deep()) is not None:
            self._at = after
            yield Placed(start, Block("plain", "\n".join(self._lines[start:end]), gap=gap), None)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            number = int(token.attrs.get("start", 1)) if token.type.startswith("ordered") else 0
            if is_top and is_first and self._following and self._following.continues:
                number = self._following.continues
            yield from self._items(depth, number, gap=gap)
        else:
            yield Placed(start, replace(self._single(token, depth), gap=gap), None)

    def _is_blank(self, line: int) -> bool:
        return not self._lines[line].strip(" >\t")

    def _after_too_deep(self) -> int | None:
        """Where the block at hand ends, if the parser left out what was nested in it."""
        deep = False
        for at in range(self._at, len(self._tokens)):
            token = self._tokens[at]
            deep |= token.level >= _NESTING - 2
            if token.level == 0 and token.nesting <= 0:
                return at + 1 if deep else None
        return None

    def _single(self, token: Token, depth: int) -> Block:
        self._at += 1
        match token.type:
            case "paragraph_open":
                return Block("paragraph", self._inline())
            case "heading_open":
                return Block("heading", self._inline(), detail=token.tag[1:])
            case "fence" | "code_block":
                words = token.info.split()
                return Block("code", token.content.rstrip("\n"), detail=words[0] if words else "")
            case "hr":
                return Block("rule")
            case "blockquote_open":
                return Block("quote", children=self._until("blockquote_close", depth))
            case "table_open":
                return self._table()
        return Block("plain", token.content)

    def _inline(self) -> str:
        """The content of the token that follows, and past its closing one."""
        self._at += 2
        return self._tokens[self._at - 2].content

    def _until(self, closing: str, depth: int) -> tuple[Block, ...]:
        children: list[Block] = []
        while self._tokens[self._at].type != closing:
            children.extend(block for _, block, _ in self._next(depth, is_first=not children))
        self._at += 1
        return tuple(children)

    def _items(self, depth: int, number: int, *, gap: bool) -> Iterator[Placed]:
        """The items of the list at hand. `number`: of the first one; 0 for bullets."""
        ordered = self._tokens[self._at].type == "ordered_list_open"
        continues: int | None = None
        self._at += 1
        while (token := self._tokens[self._at]).type == "list_item_open":
            start = (token.map or (0, 0))[0]
            if continues is not None:
                gap = self._is_blank(start - 1)
            self._at += 1
            marker = f"{number}." if ordered else _BULLETS[depth % len(_BULLETS)]
            children = self._until("list_item_close", depth + 1)
            yield Placed(start, Block("item", detail=marker, children=children, gap=gap), continues)
            number += ordered
            continues = number
        self._at += 1

    def _table(self) -> Block:
        rows: list[tuple[str, ...]] = []
        row: list[str] = []
        aligned = ""
        while (token := self._tokens[self._at]).type != "table_close":
            self._at += 1
            if token.type == "th_open":
                side = str(token.attrs.get("style", "left"))
                aligned += "r" if "right" in side else "c" if "center" in side else "l"
            elif token.type == "inline":
                row.append(token.content)
            elif token.type == "tr_close":
                rows.append(tuple(row))
                row = []
        self._at += 1
        return Block("table", detail=aligned, rows=tuple(rows))
