from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from localchat.tui.chats.context import ContextUse
from localchat.tui.widgets.prompt_text import PromptText


def rows(prompt: str, width: int, *said: tuple[int, int]) -> list[list[tuple[str, bool]]]:
    """The lines' pieces, and whether they are set apart."""
    made = PromptText(ContextUse((), 0, 0, prompt, said)).lines(width)
    return [[(text, bool(name)) for text, name in line if text] for line in made]


def texts(prompt: str, width: int) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows(prompt, width)]


def test_lines_are_broken_between_words() -> None:
    assert texts("one two three\n\nfour", 8) == ["one two ", "three", "", "four"]
    assert texts("one two three", 7) == ["one two ", "three"]
    assert texts("abcdefgh ij", 5) == ["abcde", "fgh ", "ij"]
    assert texts("日本語の文字", 5) == ["日本", "語の", "文字"]
    assert texts("a\tb", 80) == ["a    b"]


def test_what_the_template_adds_is_set_apart_also_where_a_line_breaks() -> None:
    prompt = "<s>user\nhello there</s>\n<s>"
    said = (prompt.index("hello"), prompt.index("</s>"))
    assert rows(prompt, 10, said) == [
        [("<s>user", True)],
        [("hello ", False)],
        [("there", False), ("</s>", True)],
        [("<s>", True)],
    ]
    assert rows(prompt, 10)[0] == [("<s>user", False)], "where it can't be told, nothing is"


def test_no_control_character_is_left() -> None:
    assert texts("a\x1b[31mb\r\u202ec", 80) == ["a[31mbc"]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"])), st.integers(1, 12))
@example("    " * 9 + "x", 3)
@example("é" * 9 + "日" * 9, 2)
@example("日本", 1)
@example("👩‍👩‍👧" * 5, 3)
def test_nothing_is_lost_and_lines_have_room(text: str, width: int) -> None:
    found = texts(text, width)
    assert "".join(found) == text
    for line, following in pairwise(found):
        assert line
        assert following
    for line in found:
        assert cell_len(line.rstrip(" ")) <= max(width, 2)
