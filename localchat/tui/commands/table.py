"""What a command is, and how it comes into the table of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from localchat.paths import Paths

if TYPE_CHECKING:
    from localchat.tui.screens.main import MainScreen

Action = Callable[["MainScreen", str], Awaitable[None]]
"""Gets what follows the command's name, without the spaces around it."""


class ScreenCommand(NamedTuple):
    """A command of the chat screen, for the prompt and for the palette."""

    name: str
    """Without the slash."""
    argument: str
    """What may follow it, as users are shown it; empty if nothing may."""
    meaning: str
    """A few words that begin with a verb."""
    action: Action
    binding: str
    """The id of the binding that does the same; empty if there is none."""


TABLE: dict[str, ScreenCommand] = {}
"""By name, in the order in which they are shown."""


def command(
    name: str, meaning: str, *, argument: str = "", binding: str = ""
) -> Callable[[Action], Action]:
    """Puts a function into the table."""

    def add(action: Action) -> Action:
        TABLE[name] = ScreenCommand(name, argument, meaning, action, binding)
        return action

    return add


def candidates(places: Paths, themes: Iterable[str]) -> dict[str, list[str]]:
    """What may follow a command, to be offered: by the command's name. Raises LocalchatError."""
    from localchat.presets import folder
    from localchat.registry import installed
    from localchat.tui.chats.settings import NAMES

    return {
        "model": [one.name for one in installed.records(places)],
        "preset": ["none", *(one.name for one in folder.entries(places))],
        "set": [name for name in NAMES if name != "system"],
        "theme": sorted(themes),
        "think": ["auto", "on", "off"],
    }
