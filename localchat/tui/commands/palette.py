"""The command palette: the same commands, found by what they do."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider

from localchat.tui.commands import TABLE, ScreenCommand
from localchat.tui.screens.main import MainScreen


class CommandProvider(Provider):
    """Has something to offer where commands work: on the main screen."""

    async def discover(self) -> Hits:
        for one in self._commands():
            yield DiscoveryHit(_title(one), partial(self._run, one), help=_help(one))

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for one in self._commands():
            title = _title(one)
            score = max(matcher.match(title), matcher.match(f"/{one.name}"))
            if score:
                yield Hit(score, matcher.highlight(title), partial(self._run, one), help=_help(one))

    def _commands(self) -> list[ScreenCommand]:
        return list(TABLE.values()) if isinstance(self.screen, MainScreen) else []

    def _run(self, one: ScreenCommand) -> None:
        assert isinstance(self.screen, MainScreen)
        if one.argument.startswith("<"):  # it can't do without
            self.screen.chat_pane.prompt.load(f"/{one.name} ")
            self.screen.chat_pane.prompt.focus()
        else:
            self.screen.action_command(one.name)


def _title(one: ScreenCommand) -> str:
    return one.meaning[:1].upper() + one.meaning[1:]


def _help(one: ScreenCommand) -> str:
    return f"/{one.name} {one.argument}".strip()
