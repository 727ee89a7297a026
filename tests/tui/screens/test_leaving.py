from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import re

from textual import work
from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label, Static

from localchat.tui import screens
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


def parts() -> set[type[Widget]]:
    """What is in `localchat.tui.screens`."""
    found = set()
    for module in pkgutil.iter_modules(screens.__path__, f"{screens.__name__}."):
        members = vars(importlib.import_module(module.name)).values()
        found |= {one for one in members if isinstance(one, type) and issubclass(one, Widget)}
    return {one for one in found if one.__module__.startswith(screens.__name__)}


def test_all_that_await_something_end_it() -> None:
    # Those in threads, such as saving a draft, look for no widgets and are to go on.
    working = {one for one in parts() if re.search(r"@work(?!\(thread)", inspect.getsource(one))}
    assert len(working) >= 5
    assert {one for one in working if not issubclass(one, EndsWorkers)} == set()
