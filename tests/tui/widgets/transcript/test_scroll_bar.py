from __future__ import annotations

import pytest
from textual.scrollbar import ScrollBar
from textual.strip import Strip

from localchat.tui.widgets.transcript.scroll_bar import LineBar
from tests.tui.widgets.transcript.screen import TranscriptApp, conversation, settled


def drawn(bar: ScrollBar) -> list[Strip]:
    return bar.render_lines(bar.size.region)


def by_textual(bar: ScrollBar) -> list[Strip]:
    bar._styles_cache.clear()
    return ScrollBar.render_lines(bar, bar.size.region)


def looks(strips: list[Strip]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for strip in strips:
        (segment,) = strip.simplify()
        assert segment.style is not None
        found.append((*segment[:1], segment.style.without_color.meta, str(segment.style)))
    return found


@pytest.mark.parametrize("at", [0, 1, 7, 50, 1000])
async def test_it_looks_like_textuals(at: int) -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.show(conversation(9), {}, None)
        await settled(pilot)
        app.transcript.scroll_to(y=at, animate=False)
        await settled(pilot)
        bar = app.transcript.vertical_scrollbar
        assert isinstance(bar, LineBar)
        assert looks(drawn(bar)) == looks(by_textual(bar))


async def test_a_theme_and_the_mouse_change_it() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.show(conversation(9), {}, None)
        await settled(pilot)
        bar = app.transcript.vertical_scrollbar
        before = looks(drawn(bar))
        await pilot.hover(bar)
        await settled(pilot)
        under_the_mouse = looks(drawn(bar))
        assert under_the_mouse == looks(by_textual(bar)) != before
        app.theme = "textual-light"
        await settled(pilot)
        assert looks(drawn(bar)) == looks(by_textual(bar)) != under_the_mouse


async def test_the_mouse_moves_it() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.show(conversation(9), {}, None)
        await settled(pilot)
        assert app.transcript.vertical_scrollbar.position == app.transcript.scroll_offset.y
        end = app.transcript.scroll_offset.y
        await pilot.click(app.transcript.vertical_scrollbar, offset=(0, 0))
        await settled(pilot)
        assert app.transcript.scroll_offset.y < end


async def test_what_looks_alike_is_kept() -> None:
    app = TranscriptApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.show(conversation(9), {}, None)
        await settled(pilot)
        bar = app.transcript.vertical_scrollbar
        first = drawn(bar)
        bar.refresh()
        await settled(pilot)
        assert all(new is old for new, old in zip(drawn(bar), first, strict=True))
