"""All keys and commands, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localchat.tui.commands.table import ScreenCommand
from localchat.tui.key_names import key_name
from localchat.tui.keys import Group

_KEYS = 20  # cells of the first column
_MEANING = 30  # of the second


class HelpScreen(ModalScreen[None]):
    """Esc, F1 or q leaves it."""

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & > VerticalScroll {
            width: 76;
            max-width: 100%;
            height: auto;
            max-height: 90%;
            padding: 1 3;
            background: $surface;
            border: round $border-blurred;
            border-title-color: $text-muted;
            border-subtitle-color: $text-muted;
        }
        & .help--title {
            margin: 1 0 0 0;
            color: $text-primary;
            text-style: bold;
        }
        & .help--title.-first {
            margin: 0;
        }
        &:ansi > VerticalScroll { background: ansi_default; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", show=False),
    ]

    def __init__(self, groups: Sequence[Group], commands: Iterable[ScreenCommand]) -> None:
        super().__init__()
        self._groups = groups
        self._commands = tuple(commands)

    def compose(self) -> ComposeResult:
        with VerticalScroll() as page:
            page.border_title = "Keys and commands"
            page.border_subtitle = "Esc closes"
            for number, group in enumerate(self._groups):
                yield _title(group.title, is_first=number == 0)
                yield _table(
                    (", ".join(map(key_name, action.keys)), action.meaning, action.id)
                    for action in group.actions
                )
            yield _title("Commands")
            yield _table(
                (f"/{one.name} {one.argument}".strip(), one.meaning, "") for one in self._commands
            )
            yield _title("Other keys")
            yield Static(
                Content(
                    "config.toml can give each of them another key, by the name at its right:"
                    ' [keys], then "chat.new" = "f5".'
                )
            )


def _title(text: str, *, is_first: bool = False) -> Static:
    return Static(Content(text), classes=f"help--title{' -first' * is_first}")


def _table(rows: Iterable[tuple[str, str, str]]) -> Static:
    """Keys, what they do, what they are called; what is too long goes on a line below."""
    lines = []
    for keys, meaning, name in rows:
        gap = " " * (_KEYS - len(keys)) if len(keys) < _KEYS - 1 else "\n" + " " * _KEYS
        space = " " * max(2, _MEANING - len(meaning)) if name else ""
        lines.append(Content.assemble((keys, "bold"), gap, meaning, space, (name, "dim")))
    return Static(Content("\n").join(lines))
