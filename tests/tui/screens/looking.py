"""What the tests of screens share: waiting for what is to be seen, and reading it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot

_PATIENCE = 3000  # looks


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Lets the screen work until the condition holds."""
    for _ in range(_PATIENCE):
        if condition():
            return
        await pilot.pause(0.005)
    raise AssertionError("it did not happen in time")


def seen(app: App[Any]) -> str:
    """The text on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)
