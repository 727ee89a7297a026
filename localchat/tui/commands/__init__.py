"""The commands that begin with a slash, which the palette has too: a module for each kind."""

from __future__ import annotations

from localchat.tui.commands import conversation, settings, view  # they fill the table
from localchat.tui.commands.table import TABLE, ScreenCommand

__all__ = ["TABLE", "ScreenCommand", "conversation", "settings", "view"]
