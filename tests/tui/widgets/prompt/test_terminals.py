from __future__ import annotations

import pytest
from textual import events
from textual._xterm_parser import XTermParser

from localchat.tui.widgets.prompt.prompt import Prompt
from localchat.tui.widgets.prompt.terminals import known, teach_alt_enter
from tests.tui.widgets.prompt.screen import PromptApp


def keys(sent: str) -> list[str]:
    """What Textual makes of what a terminal sends."""
    return [event.key for event in XTermParser().feed(sent) if isinstance(event, events.Key)]


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("\r", "enter"),
        ("\n", "ctrl+j"),
        ("\x1b\r", "ctrl+j"),
        ("\x1b[13;2u", "shift+enter"),
        ("\x1b[13;3u", "alt+enter"),
        ("\x1b[106;5u", "ctrl+j"),
        ("\x1b[27;2;13~", "shift+enter"),
    ],
)
def test_what_terminals_send_for_enter_and_new_lines(sent: str, key: str) -> None:
    teach_alt_enter()
    assert [known(found) for found in keys(sent)] == [key]


async def test_a_new_line_in_xterms_own_way() -> None:
    app = PromptApp()
    async with app.run_test() as pilot:
        await pilot.press("a", *keys("\x1b[27;2;13~"), "b")
        assert app.prompt.text == "a\nb"
        assert not app.posted(Prompt.Submitted)
