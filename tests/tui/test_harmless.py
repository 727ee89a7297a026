from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.content import Content
from textual.widgets import Static

from localchat.tui.harmless import Harmless
from tests.tui.conftest import Opened

BLACK = Color(0, 0, 0)


def test_control_characters_are_dropped_and_all_else_stays() -> None:
    line = [Segment("plain ✓ 日本", Style(bold=True)), Segment("a\x1b]52;c;eA==\x07b\x9bc\u202ed")]
    clean = Harmless().apply(line, BLACK)
    assert clean[0] is line[0]
    assert clean[1].text == "a]52;c;eA==bcd"


def test_a_link_is_text() -> None:
    (segment,) = Harmless().apply([Segment("here", Style(link="http://elsewhere"))], BLACK)
    assert segment.text == "here"
    assert segment.style is not None
    assert segment.style.link is None


async def test_it_stands_behind_every_widget(stage: Opened) -> None:
    async with stage() as at:
        await at.main.mount(Static(Content("careless\x1b[31m\x07words")), before=0)
        await at.until(lambda: "careless" in at.shown)
        assert "\x1b" not in at.shown
        assert "\x07" not in at.shown
