"""Completing the word at the cursor: when there is a list, and what a choice puts into the text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widget import Widget

from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.chips import Chips
from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.wanted import wanted

if TYPE_CHECKING:
    from localchat.tui.widgets.prompt.completions import Completions


class Completer:
    """Between the text and the list of what could be meant."""

    def __init__(self, host: Widget, area: PromptArea, chips: Chips, root: Path) -> None:
        """`host`: what the list is mounted in and stands beside."""
        self.commands: Sequence[Command] = ()
        self.candidates: Mapping[str, Sequence[str]] = {}
        self._host = host
        self._area = area
        self._chips = chips
        self._root = root
        self._list: Completions | None = None
        self._paths: Collection[str] = ()
        self._dismissed: tuple[int, int] | None = None
        """Where the word begins that the user wants no list for."""

    @property
    def is_open(self) -> bool:
        return self._list is not None and self._list.is_open

    def move(self, by: int) -> bool:
        """Highlights the next offer or the one before; False if the list is closed."""
        if self._list is None or not self._list.is_open:
            return False
        self._list.move(by)
        return True

    def follow(self) -> None:
        """Offers what fits the word at the cursor."""
        row, column = self._area.cursor_location
        before = self._area.document[row][:column]
        wants = wanted(before, row)
        if wants is None or self._ends_with_chip(before):
            self._dismissed = None
            self.close()
        elif self._dismissed != (row, wants.start):
            self._dismissed = None
            self._opened().look_for(wants, self._host.region)

    def place(self) -> None:
        """Moves the list to where its host is now."""
        if self._list is not None:
            self._list.place(self._host.region)

    def close(self) -> None:
        if self._list is not None:
            self._list.close()

    def dismiss(self) -> bool:
        """Closes the list until another word is begun; False if it is closed."""
        if self._list is None or not self._list.is_open or self._list.wanted is None:
            return False
        self._dismissed = (self._area.cursor_location[0], self._list.wanted.start)
        self.close()
        return True

    def accept(self, *, is_enter: bool) -> bool:
        """Puts the highlighted offer into the text; False if the key is left to do more.

        That is if the list is closed, and for Enter if the text is a whole command then.
        """
        if self._list is None or self._list.wanted is None or self._list.choice is None:
            return False
        wants, choice = self._list.wanted, self._list.choice
        row, column = self._area.cursor_location
        gap = "" if self._area.document[row][column : column + 1].isspace() else " "
        if wants.kind == "command":
            if is_enter and choice.word == wants.query:
                return False
            word = f"/{choice.word}{gap}"
        elif wants.kind == "file":
            word = f"{self._chips.attach(Path(choice.word))}{gap}"
        else:
            word = choice.word
        self._area.put(word, (row, wants.start), (row, column))
        return not (is_enter and wants.kind == "command" and not choice.argument)

    def adopt(self, text: str) -> None:
        """Makes chips of names of files that were written out, now or when they are known."""
        if "@" not in text:
            return
        self._opened().scan()
        # What was sent earlier and holds a file already is not to get it a second time.
        if "```" not in text and self._chips.adopt(text, self._paths):
            self._area.notify_style_update()

    def know(self, paths: Collection[str]) -> None:
        """Takes in what files there are."""
        self._paths = paths
        self.adopt(self._area.text)
        if self._list is not None and self._list.wanted is not None:
            self.follow()

    def _opened(self) -> Completions:
        if self._list is None:
            # Imported after the first frame, of which it would take some 5%.
            from localchat.tui.widgets.prompt.completions import Completions

            self._list = Completions(self._root)
            self._host.mount(self._list)
        self._list.commands = self.commands
        self._list.candidates = self.candidates
        return self._list

    def _ends_with_chip(self, before: str) -> bool:
        return any(end == len(before) for _, end in self._chips.spans(before))
