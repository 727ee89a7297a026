from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult

from localchat.tui.widgets.lines import Line, Lines
from tests.tui.screens.looking import seen, until


class Numbers(Lines):
    """A thousand lines, which say how wide they may be."""

    DEFAULT_CSS = "Numbers > .numbers--odd { color: red; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"numbers--odd"}
    widths: ClassVar[list[int]] = []

    def lines(self, width: int) -> Sequence[Line]:
        self.widths.append(width)
        return [[(f"{n} ", "numbers--odd" if n % 2 else ""), ("x" * width, "")] for n in range(999)]


class Ten(App[None]):
    def compose(self) -> ComposeResult:
        yield Numbers()


@pytest.fixture
def app() -> Ten:
    Numbers.widths.clear()
    return Ten()


async def test_lines_are_seen_where_one_has_scrolled_to(app: Ten) -> None:
    async with app.run_test(size=(20, 5)) as pilot:
        assert [line.split()[0] for line in seen(app).split("\n")] == ["0", "1", "2", "3", "4"]
        app.query_one(Numbers).focus()
        await pilot.pause()
        await pilot.press("down")
        await until(pilot, lambda: seen(app).startswith("1 "))
        app.query_one(Numbers).scroll_to(y=500, animate=False)
        await pilot.pause()
        assert [line.split()[0] for line in seen(app).split("\n")] == [
            *("500", "501", "502", "503", "504")
        ]
        style = app.query_one(Numbers).render_line(1)._segments[0].style
        assert style is not None
        assert style.color is not None
        assert style.color.get_truecolor().red == 255


async def test_they_are_made_for_the_width_there_is(app: Ten) -> None:
    async with app.run_test(size=(20, 5)) as pilot:
        assert Numbers.widths == [19], "a column is the scrollbar's"
        await pilot.resize_terminal(20, 3)
        await pilot.pause()
        assert Numbers.widths == [19]
        await pilot.resize_terminal(30, 3)
        await pilot.pause()
        assert Numbers.widths == [19, 29]


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 9)])
async def test_there_may_be_no_room(app: Ten, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        seen(app)
