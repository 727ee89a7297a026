"""The text area: keys in the order they were typed, chips that are moved over and deleted whole."""

from __future__ import annotations

from typing import ClassVar, Protocol

from rich.text import Text
from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult, Location, Selection

from localchat.tui.widgets.prompt.chips import MOST_SHOWN, Chips, tidy
from localchat.tui.widgets.prompt.terminals import known, teach_alt_enter


class Owner(Protocol):
    """Whom the area asks about keys that are not its own; False leaves the key to others."""

    def send(self) -> None: ...
    def step(self, by: int) -> bool:
        """Up (-1) or down (1), in a list or in the history; only asked at the text's edge."""
        ...

    def complete(self) -> bool: ...
    def close_list(self) -> bool: ...
    def ask_for_editor(self) -> None: ...
    def complain_of_length(self) -> None: ...
    def edited(self) -> None: ...

    @property
    def is_listing(self) -> bool: ...


class PromptArea(TextArea):
    DEFAULT_CSS = """
    PromptArea, PromptArea:focus {
        width: 1fr;
        height: auto;
        min-height: 1;
        max-height: 33vh;
        border: none;
        padding: 0;
        background: transparent;
        scrollbar-size-vertical: 1;
        scrollbar-color: $foreground 30%;
        scrollbar-background: $background;
    }
    PromptArea .prompt--chip {
        color: $text-primary;
        background: $primary-muted;
    }
    PromptArea:ansi .prompt--chip {
        color: $primary;
        background: transparent;
        text-style: underline;
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"prompt--chip"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send"),
        Binding("shift+enter,alt+enter,ctrl+j", "newline", "New line", id="prompt.newline"),
        Binding("tab", "complete", "Complete", id="prompt.complete", show=False),
        Binding("escape", "close_list", "Close the list", id="prompt.close", show=False),
        Binding("ctrl+g", "ask_for_editor", "Write in the editor", id="prompt.editor"),
        Binding("f6", "unfold", "Show the pasted text", id="prompt.unfold", show=False),
    ]

    def __init__(self, owner: Owner, chips: Chips, placeholder: str) -> None:
        self._owner = owner
        self._chips = chips
        super().__init__(placeholder=placeholder, highlight_cursor_line=False, compact=True)
        # A cursor that blinks would wake the machine twice a second.
        self.cursor_blink = False
        self.match_cursor_bracket = False
        teach_alt_enter()

    # keys

    async def _on_key(self, event: events.Key) -> None:
        """Carries out the area's own bindings here, not after the key went up to the app.

        Keys that came in one burst would be in the text by then: a prompt would be sent with
        what was typed after Enter.
        """
        if event.is_printable:
            return
        active = self.screen.active_bindings.get(known(event.key))
        if active is None or active.node is not self:
            return
        if await self.app.run_action(active.binding.action, self):
            event.stop()
            event.prevent_default()

    def action_send(self) -> None:
        self._owner.send()

    def action_newline(self) -> None:
        self._replace_via_keyboard("\n", *self.selection)

    def action_complete(self) -> None:
        if not self._owner.complete():
            raise SkipAction

    def action_close_list(self) -> None:
        if not self._owner.close_list():
            raise SkipAction

    def action_ask_for_editor(self) -> None:
        self._owner.ask_for_editor()

    def action_cursor_up(self, select: bool = False) -> None:
        is_edge = self._owner.is_listing or self.navigator.is_first_wrapped_line(self.selection.end)
        if select or not is_edge or not self._owner.step(-1):
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        is_edge = self._owner.is_listing or self.navigator.is_last_wrapped_line(self.selection.end)
        if select or not is_edge or not self._owner.step(1):
            super().action_cursor_down(select)

    def action_delete_right(self) -> None:
        if not self.text:
            raise SkipAction  # so that Ctrl+D can mean the end of input
        super().action_delete_right()

    def undo(self) -> None:
        if self.history.undo_stack:
            self._leave_rows()
        super().undo()

    def redo(self) -> None:
        if self.history.redo_stack:
            self._leave_rows()
        super().redo()

    def _leave_rows(self) -> None:
        """TextArea looks for the cursor before it has moved it, in rows that may be gone."""
        self.selection = Selection.cursor((0, 0))

    def on_resize(self) -> None:
        self.scroll_cursor_visible()

    # pasting

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.put(self._chips.fold(tidy(event.text)))

    def action_paste(self) -> None:
        self.put(self._chips.fold(tidy(self.app.clipboard)))

    def put(self, text: str, start: Location | None = None, end: Location | None = None) -> None:
        """Types `text` in place of what is selected, or of what is between two places."""
        place = self.selection if start is None or end is None else (start, end)
        if result := self._replace_via_keyboard(text, *place):
            self.move_cursor(result.end_location)

    def action_unfold(self) -> None:
        row, column = self.selection.end
        for start, end in self._chips_in(row):
            pasted = self._chips.pasted(self.document[row][start:end])
            if start <= column <= end and pasted is not None:
                if len(pasted) > MOST_SHOWN:
                    self._owner.complain_of_length()
                else:
                    self.put(pasted, (row, start), (row, end))
                return
        raise SkipAction

    # chips

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        for start, end in self._chips.spans(line.plain):
            line.stylize(self.get_component_rich_style("prompt--chip"), start, end)
        return line

    def validate_selection(self, selection: Selection) -> Selection:
        """Keeps the cursor out of chips."""
        before = self.selection
        return Selection(
            self._beside_chip(selection.start, before.start),
            self._beside_chip(selection.end, before.end),
        )

    def _beside_chip(self, location: Location, before: Location) -> Location:
        row, column = location
        for start, end in self._chips_in(row):
            if start < column < end:
                if before == (row, start):
                    return row, end
                if before == (row, end):
                    return row, start
                return row, start if column - start < end - column else end
        return location

    def _delete_via_keyboard(self, start: Location, end: Location) -> EditResult | None:
        return super()._delete_via_keyboard(*self._with_whole_chips(start, end))

    def _replace_via_keyboard(
        self, insert: str, start: Location, end: Location
    ) -> EditResult | None:
        return super()._replace_via_keyboard(insert, *self._with_whole_chips(start, end))

    def edit(self, edit: Edit) -> EditResult:
        result = super().edit(edit)
        # TextArea scrolls before it knows that there is a row more.
        self.scroll_cursor_visible()
        self._owner.edited()
        return result

    def _with_whole_chips(self, start: Location, end: Location) -> tuple[Location, Location]:
        first, last = sorted((start, end))
        for begin, stop in self._chips_in(first[0]):
            if begin < first[1] < stop:
                first = (first[0], begin)
        for begin, stop in self._chips_in(last[0]):
            if begin < last[1] < stop:
                last = (last[0], stop)
        return first, last

    def _chips_in(self, row: int) -> list[tuple[int, int]]:
        """Start and end of each; of the row after the last one too, where a deletion may end."""
        is_there = row < self.document.line_count
        return list(self._chips.spans(self.document[row])) if is_there else []
