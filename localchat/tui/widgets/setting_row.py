"""One setting in a form: its name, and the field that it is changed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Select, Static

from localchat.tui.widgets.one_line import one_line


class SettingRow(Horizontal):
    """The arrows go on to the next one, where its field has no use for them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Up", id="settings.up", show=False),
        Binding("down", "app.focus_next", "Down", id="settings.down", show=False),
    ]
    DEFAULT_CSS = """
    SettingRow {
        height: auto;
        .name {
            width: 20;
            padding-right: 1;
            color: $text-muted;
        }
        &.-focused .name {
            color: $foreground;
            text-style: bold;
        }
        &.-wrong .name {
            color: $text-error;
        }
        Input, Input:focus, TextArea, TextArea:focus, SelectCurrent, Select:focus > SelectCurrent {
            width: 1fr;
            background: transparent;
            border: none !important;
        }
        Input, SelectCurrent {
            height: 1;
            padding: 0 1;
        }
        TextArea {
            height: 5;
            padding: 0 1;
            background: $panel;
            scrollbar-size-vertical: 1;
        }
        Select {
            width: 1fr;
        }
        SelectOverlay, SelectOverlay:focus {
            border: none !important;
            padding: 0;
            background: $panel;
            text-wrap: nowrap;
            text-overflow: ellipsis;
            &:nocolor > .option-list--option-highlighted {
                text-style: bold underline;
            }
        }
        &.-focused Input:focus, &.-focused SelectCurrent, &.-focused Select:focus > SelectCurrent {
            background: $panel;
        }
    }
    """

    def __init__(self, label: str, field: Widget) -> None:
        super().__init__()
        self.field = field
        self._text = one_line(label)
        self._wrong = ""

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="name", markup=False)
        yield self.field

    @property
    def is_focused(self) -> bool:
        """Whether the user is in its field."""
        return self.has_class("-focused")

    @is_focused.setter
    def is_focused(self, is_focused: bool) -> None:
        self.set_class(is_focused, "-focused")

    @property
    def wrong(self) -> str:
        """Why what was typed can't be taken; empty: it can."""
        return self._wrong

    @wrong.setter
    def wrong(self, sentence: str) -> None:
        self._wrong = sentence
        self.set_class(bool(sentence), "-wrong")
        if self.is_mounted:
            self.query_one(".name", Static).update(self._label)

    @property
    def _label(self) -> str:
        """Marked not by its colour alone."""
        return f"{'! ' if self._wrong else ''}{self._text}"


class Pick(Select[str], inherit_bindings=False):
    """One of several: Enter or Space opens the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Open", id="settings.open", show=False),
    ]

    def __init__(self, options: Mapping[str, str], value: str, id: str) -> None:  # noqa: A002
        """`options`: what is shown for each value; `value` is one of them."""
        super().__init__(_harmless(options), value=value, allow_blank=False, id=id)

    def offer(self, options: Mapping[str, str]) -> None:
        """Offers other ones; the first of them is chosen."""
        self.set_options(_harmless(options))


def _harmless(options: Mapping[str, str]) -> list[tuple[Text, str]]:
    return [
        (Text(one_line(shown), no_wrap=True, overflow="ellipsis"), value)
        for value, shown in options.items()
    ]
