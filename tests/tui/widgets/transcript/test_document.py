"""A text that comes in pieces is the same blocks as one that is there at once."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from localchat.tui.widgets.transcript.document import Document

_FRAGMENTS = [
    *("word ", "*em* ", "**strong**", "`code`", "\n", "\n\n", "\n\n\n", " ", "    ", "\t"),
    *("- item\n", "* ", "+ x\n", "1. one\n", "2. two\n", "10) ten\n", "  - nested\n", "   1. n\n"),
    *("# Head\n", "## ", "---\n", "===\n", "***\n", "> quote\n", ">", "> - in it\n"),
    *("```python\n", "```\n", "~~~\n", "````", "def f(): pass\n"),
    *("| a | b |\n", "|---|:-:|\n", "| 1 | 2 |\n", "|"),
    *("[link](http://a.b)", "[a]: http://c.d\n", "[a]", "[b]: <x> 'title'\n", "'title'\n", "[b]"),
    *("<div>\n", "</div>\n", "&amp;", "\\", "![x](y.png)", "- - -\n", "1986. A year\n"),
]
TEXTS = st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join)


def whole(text: str) -> Document:
    document = Document()
    document.append(text, is_open=False)
    return document


@settings(max_examples=600, deadline=None)
@given(text=TEXTS, data=st.data())
def test_pieces_make_the_same_blocks(text: str, data: st.DataObject) -> None:
    growing = Document()
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, 12))
        growing.append(text[at : at + size])
        at += size
    growing.append("", is_open=False)
    once = whole(text)
    assert growing.blocks == once.blocks
    assert dict(reversed(growing.references)) == dict(reversed(once.references))


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
@example("- b\n**bold**")
@example("[a]\n\n[a]: http://long.example/x")
def test_single_characters_make_the_same_blocks(text: str) -> None:
    growing = Document()
    for character in text:
        growing.append(character)
    growing.append("", is_open=False)
    assert growing.blocks == whole(text).blocks


def test_kept_blocks_are_those_that_stayed() -> None:
    growing = Document()
    text = "One.\n\n- a\n- b\n\n```\ncode\n```\n\nLast one."
    for character in text:
        before = list(growing.blocks)
        kept = growing.append(character)
        assert growing.blocks[:kept] == before[:kept]
    assert kept == 3  # the line at the end is not complete: the code could still change


def test_a_list_that_goes_on_keeps_counting() -> None:
    growing = Document()
    for line in ("1. a\n", "1. b\n", "1. c\n", "1. d\n"):
        growing.append(line)
    assert [block.detail for block in growing.blocks] == ["1.", "2.", "3.", "4."]


def test_only_the_end_is_parsed_again() -> None:
    growing = Document()
    for _ in range(300):
        growing.append("A paragraph.\n\n")
    assert len(growing.blocks) == 300
    assert growing.append("Another one.") >= 299


def test_code_is_open_until_it_is_all_there() -> None:
    growing = Document()
    growing.append("1. a\n\n   ```python\n   x = 1\n")
    assert growing.blocks[-1].children[-1].is_open
    growing.append("", is_open=False)
    assert not growing.blocks[-1].children[-1].is_open
