"""What is inside a paragraph: emphasis, code and links, as styled text."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from textual.content import Content, Span
from textual.style import Style

from localchat.sanitize import clean
from localchat.tui.widgets.transcript.blocks import References

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

LONGEST = 4_000
"""Characters that are read as Markdown: some texts take time that grows with their square."""

_STYLES = {"em": ".em", "strong": ".strong", "s": ".strike"}


@lru_cache(maxsize=1024)
def inline(source: str, references: References = ()) -> Content:
    """`source`, not longer than `LONGEST`, as styled text."""
    environment = {
        "references": {label: {"href": href, "title": ""} for label, href in reversed(references)}
    }
    (token,) = _parser().parseInline(source, environment)
    text: list[str] = []
    spans: list[Span] = []
    _collect(token.children or [], text, spans)
    return Content("".join(text), spans=spans)


def _collect(tokens: list[Token], text: list[str], spans: list[Span]) -> None:
    opened: list[tuple[int, str | Style]] = []
    at = 0

    def add(more: str) -> None:
        nonlocal at
        # Entities such as &#27; are characters only now.
        more = clean(more)
        text.append(more)
        at += len(more)

    for token in tokens:
        if token.type == "text":
            add(re.sub(r"\s+", " ", token.content))
        elif token.type == "softbreak":
            add(" ")
        elif token.type == "hardbreak":
            add("\n")
        elif token.type == "code_inline":
            start = at
            add(token.content)
            spans.append(Span(start, at, ".code"))
        elif token.type == "image":
            start = at
            add(token.content or "image")
            spans.extend(_link(start, at, str(token.attrs.get("src", ""))))
        elif token.type == "link_open":
            opened.append((at, str(token.attrs.get("href", ""))))
        elif token.type == "link_close":
            start, address = opened.pop()
            spans.extend(_link(start, at, str(address)))
        elif token.nesting == 1:
            opened.append((at, _STYLES[token.tag]))
        elif token.nesting == -1:
            start, style = opened.pop()
            spans.append(Span(start, at, style))


def _link(start: int, end: int, address: str) -> list[Span]:
    click = Style.from_meta({"@click": f"link({address!r})"})
    return [Span(start, end, ".link"), Span(start, end, click)]


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # 30 ms, and an empty screen needs none

    parser = MarkdownIt("commonmark", {"maxNesting": 20, "html": False})
    return parser.enable("strikethrough")
