from __future__ import annotations

import asyncio

from textual import work
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widgets import Label, Static

from localchat.tui.screens.leaving import EndsWorkers


class Slow(Label):
    """Goes last, and lets the worker's answer come after the other one has gone."""

    async def on_unmount(self) -> None:
        screen = self.screen
        assert isinstance(screen, Looking)
        while screen.query("#first"):
            await asyncio.sleep(0)
        screen.answer.set()
        for _ in range(20):
            await asyncio.sleep(0)


class Looking(Screen[None], EndsWorkers):
    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield Static(id="first")
        yield Slow()

    def on_mount(self) -> None:
        self.look()

    @work
    async def look(self) -> None:
        await self.answer.wait()
        self.query_one("#first", Static).update("found")


async def test_a_screen_that_is_dismissed() -> None:
    async with App[None]().run_test() as pilot:
        screen = Looking()
        await pilot.app.push_screen(screen)
        await pilot.app.pop_screen()
        assert screen.answer.is_set()


async def test_a_screen_that_ends_with_its_app() -> None:
    async with App[None]().run_test() as pilot:
        screen = Looking()
        await pilot.app.push_screen(screen)
    assert screen.answer.is_set()
