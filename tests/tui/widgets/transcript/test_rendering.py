"""How blocks of Markdown are drawn, also those that nobody writes by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.tui.widgets.transcript.document import Document
from localchat.tui.widgets.transcript.inline import LONGEST, inline
from localchat.tui.widgets.transcript.lines import Line
from localchat.tui.widgets.transcript.rendering import block_lines
from tests.tui.widgets.transcript.test_document import TEXTS, whole


def lines_of(source: str, width: int = 40) -> list[Line]:
    document = whole(source)
    return [
        line for block in document.blocks for line in block_lines(block, width, document.references)
    ]


def drawn(source: str, width: int = 40) -> list[str]:
    return [line.content.plain.rstrip() for line in lines_of(source, width)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# One\n## Two", ["One", "Two"]),
        ("a\nb  \nc", ["a b", "c"]),
        ("***", ["─" * 40]),
        ("> a\n>\n> b", ["│ a", "│", "│ b"]),
        ("3. a\n3. b", ["3. a", "4. b"]),
        ("- a\n  - b\n    - c\n      - d", ["• a", "  ◦ b", "    ▪ c", "      • d"]),
        ("- a\n\n  b\n- c", ["• a", "", "  b", "• c"]),
        ("- ", ["•"]),
        ("```\na\tb\n\n  c\n```", ["", "  a   b", "", "    c", ""]),
        ("```nonsense of it\nx\n```", ["  nonsense", "  x", ""]),
        ("    indented", ["", "  indented", ""]),
        ("| a | b |\n|:-:|--:|\n| 1 | 2 |\n| long cell | |", [
            "    a       b",
            "─────────────",
            "    1       2",
            "long cell",
        ]),
        ("<b>x</b> &lt; &#x202e;x", ["<b>x</b> < x"]),
        ("[a]\n\n[a]: http://b", ["a"]),
        (">" * 30 + " deep", [">" * 30 + " deep"]),
        ("- " * 25 + "deep", [("- " * 25 + "deep")[:40].rstrip(), "- - - - - deep"]),
        ("~~gone~~ \\*kept\\*", ["gone *kept*"]),
    ],
)  # fmt: skip
def test_blocks_are_drawn(source: str, expected: list[str]) -> None:
    assert drawn(source) == expected


def test_a_table_that_is_too_wide_shares_the_room_and_wraps() -> None:
    source = "| a | b |\n|---|---|\n| x | some words that need more room than there is |"
    assert drawn(source, 24) == [
        "a   b",
        "────────────────────────",
        "x   some words that need",
        "    more room than there",
        "    is",
    ]


def test_a_table_of_too_many_columns_is_text() -> None:
    head = "|".join("abcdefghijkl")
    assert drawn(f"{head}\n{'|'.join(['-'] * 12)}\n{head}", 30)[0].startswith("a | b | c")


def test_styles_and_links_are_where_the_text_is() -> None:
    content = inline("a *b* `c` [d](http://e 'f')")
    assert content.plain == "a b c d"
    styles = {content.plain[span.start : span.end]: span.style for span in content.spans}
    assert styles["b"] == ".em"
    assert styles["c"] == ".code"
    assert [span.style.meta for span in content.spans if not isinstance(span.style, str)] == [
        {"@click": "link('http://e')"}
    ]


def test_the_first_definition_of_a_link_counts() -> None:
    document = Document()
    for character in "[a]: http://first\n\ntext\n\nmore\n\n[a]: http://second\n\nend\n":
        document.append(character)
    _, click = inline("[a]", document.references).spans
    assert click.style.meta == {"@click": "link('http://first')"}  # type: ignore[union-attr]


def test_code_is_highlighted_in_one_piece_once_it_is_all_there() -> None:
    code = '"""' + "\nin it" * 60 + '\n"""'
    document = whole(f"```python\n{code}\n```")
    styles = {
        str(span.style)
        for line in lines_of(document.source)[1:-1]
        for span in line.content.spans
        if str(span.style).startswith("$text-")
    }
    assert styles == {"$text-success 80% italic"}


def test_what_is_too_long_is_not_read_as_markdown() -> None:
    paragraph = "*a* " * (LONGEST // 4 + 1)
    assert drawn(paragraph, 7)[0] == "*a* *a*"
    table = "|a|b|c|\n|-|-|-|\n" + "|1|2|3|\n" * 1_400
    assert drawn(table)[-1] == "1 | 2 | 3"
    code = lines_of("```python\n" + "pass\n" * 9_000 + "```")
    assert not any("accent" in str(span.style) for span in code[1].content.spans)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, width=st.integers(30, 60))
def test_no_line_is_wider_than_it_may_be(text: str, width: int) -> None:
    assert all(line.content.cell_length <= width for line in lines_of(text, width))


HOSTILE = {
    "quotes": ">" * 10_000 + " x",
    "a staircase of lists": "\n".join("  " * depth + "- x" for depth in range(500)),
    "lists in one line": "- " * 5_000 + "x",
    "items": "- item\n" * 20_000,
    "a long table": "|a|b|\n|-|-|\n" + "|1|2|\n" * 10_000,
    "a wide table": f"|{'a|' * 1000}\n|{'-|' * 1000}\n" + f"|{'1|' * 1000}\n" * 20,
    "a long line": "word " * 20_000,
    "a long word": "x" * 100_000,
    "fences": "```\n~~~~\n" * 5_000,
    "brackets": "[" * (LONGEST - 1),
    "images": "![" * (LONGEST // 2 - 1),
    "stars": "**a *b " * (LONGEST // 8),
    "backticks": " ".join("`" * count for count in range(1, 85)),
    "links": "[a](<b" * (LONGEST // 7),
    "entities": "&#27;&#x202e;" * (LONGEST // 14),
    "code in one line": "```python\nx = '" + "a" * 100_000 + "\n```",
    "code of many lines": "```python\n" + "x=1\n" * 20_000 + "```",
    "references": "".join(f"[a{number}]: http://x\n" for number in range(5_000)),
    "wide characters": "\u6f22" * 50_000,
    "paragraphs": "a\n\n" * 20_000,
}
