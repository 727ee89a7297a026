from __future__ import annotations

import gc

import pytest

from localchat.paths import Paths
from localchat.tui.app import ChatApp
from localchat.tui.factory import run
from tests.tui.conftest import make_stage_app


async def test_it_says_once_that_the_main_screen_is_there(places: Paths) -> None:
    app, _ = make_stage_app(places)
    seen: list[bool] = []
    app.when_open = lambda: seen.append(app.screen is app.main)
    try:
        async with app.run_test() as pilot:
            while not seen:
                await pilot.pause(0.01)
            await pilot.pause()
    finally:
        app.close()
    assert seen == [True]


def test_what_is_there_when_it_is_open_is_not_looked_through_again(
    places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []

    def open_at_once(app: ChatApp) -> int:
        assert app.when_open is not None
        app.when_open()
        frozen.append(gc.get_freeze_count())
        gc.unfreeze()  # this process goes on
        return 3

    monkeypatch.setattr(ChatApp, "run", open_at_once)
    app, _ = make_stage_app(places)
    assert run(app) == 3
    assert frozen[0] > 1000
