"""The whole chat screen in a test: real history, replies that come when the test says so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_textual_snapshot
from textual.pilot import Pilot

from localchat.config import Settings
from localchat.paths import Paths
from localchat.tui.app import ChatApp
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.engines import Engine
from localchat.tui.chats.settings import configured
from localchat.tui.factory import make_app
from localchat.tui.screens.main import MainScreen
from localchat.tui.start import Start
from localchat.types import ModelRef
from tests.tui.paced import PacedClient

# It names its pictures in a way that newer snapshot libraries no longer ask for.
pytest_textual_snapshot.SVGImageExtension.file_extension = "svg"

_PATIENCE = 60  # seconds: the machine may be busy


@dataclass
class Stage:
    """The screen, and who sits before it."""

    app: ChatApp
    pilot: Pilot[int]
    clients: list[PacedClient]
    """One for each reply at the same time, the first one first."""

    @property
    def main(self) -> MainScreen:
        assert self.app.main is not None
        return self.app.main

    @property
    def chat(self) -> Chat:
        return self.main.chat_pane.chat

    @property
    def client(self) -> PacedClient:
        return self.clients[0]

    async def settle(self) -> None:
        """Waits until the main screen is there, and its model loaded."""
        await self.until(lambda: self.app.main is not None and self.app.screen is self.app.main)
        await self.until(lambda: not self.main.is_loading_model)

    async def type(self, text: str) -> None:
        """Text into the prompt, without sending it."""
        prompt = self.main.chat_pane.prompt
        prompt.load(prompt.text + text)
        await self.pilot.pause()

    async def say(self, text: str) -> None:
        """Sends a prompt."""
        await self.type(text)
        await self.pilot.press("enter")

    async def until(self, holds: Callable[[], Any]) -> None:
        """Waits for something that threads bring about."""
        end = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"it did not come to that:\n{self.shown}")
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def take_turn(self, text: str, reply: str = "Yes.") -> None:
        """A whole turn."""
        count = len(self.client.requests)
        await self.say(text)
        self.client.give(reply)
        self.client.finish()
        await self.until(lambda: len(self.client.requests) > count and not self.chat.is_busy)

    @property
    def shown(self) -> str:
        """The text on the screen."""
        rows = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in row) for row in rows)

    @property
    def notes(self) -> list[str]:
        """What the user was told beside the chat."""
        return [note.message for note in self.app._notifications]


Opened = Callable[..., AbstractAsyncContextManager[Stage]]


def make_stage_app(
    places: Paths,
    *,
    settings: Settings | None = None,
    start: Start | None = None,
    open_engine: Callable[[str], Engine] | None = None,
    clients: int = 2,
) -> tuple[ChatApp, list[PacedClient]]:
    """The application, and the clients that it is given for its replies, in this order."""
    paced = [PacedClient() for _ in range(clients)]
    free = list(paced)

    def open_paced(name: str) -> Engine:
        return Engine(free.pop(0), ModelRef(name, "/nowhere.gguf"), "Q4_1")

    settings = settings or Settings()
    beginning = configured(settings, places)
    app = make_app(
        settings, places, beginning, start or Start(), open_engine=open_engine or open_paced
    )
    return app, paced


@pytest.fixture
def stage(places: Paths) -> Opened:
    """Opens the screen: `async with stage() as at: ...`."""

    @asynccontextmanager
    async def opened(*, size: tuple[int, int] = (100, 30), **how: Any) -> AsyncIterator[Stage]:
        app, clients = make_stage_app(places, **how)
        try:
            async with app.run_test(size=size) as pilot:
                at = Stage(app, pilot, clients)
                await at.settle()
                yield at
        finally:
            app.close()

    return opened
