"""What a command is, and how it comes into the table of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

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
