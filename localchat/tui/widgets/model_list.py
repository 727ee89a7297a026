"""The list of models: grouped, in columns of what width there is, with words below a row."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from localchat.tui.models import rows
from localchat.tui.models.choices import Choice
from localchat.tui.models.downloads import Download
from localchat.tui.models.rows import Columns
from localchat.tui.models.search import Found
from localchat.tui.models.telling import Lines

_Below = tuple[Lines, Download | None]


class ModelList(OptionList, can_focus=False):
    """The keys go to a field elsewhere, which calls its actions."""

    DEFAULT_CSS = """
    ModelList {
        background: transparent;
        border: none;
        height: auto;
        padding: 0;
        scrollbar-size-vertical: 1;
        & > .option-list--option, & > .option-list--option-disabled {
            padding: 0 2;
            color: $foreground;
        }
        & > .option-list--option-highlighted {
            background: $primary 25%;
            text-style: none;
        }
        /* Where colours can't be mixed, or there are none. */
        &:ansi > .option-list--option-highlighted {
            background: transparent;
            text-style: bold underline;
        }
        &:nocolor > .option-list--option-highlighted {
            text-style: bold underline;
        }
    }
    """

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - as all widgets have it
        super().__init__(markup=False, id=id)
        self._found = Found()
        self._named: dict[str, Choice] = {}
        self._below: dict[str, _Below] = {}
        self._current = ""
        self._served: frozenset[str] = frozenset()
        self._remark = ""
        self._columns = Columns.fitting((), 80)

    @property
    def chosen(self) -> Choice | None:
        """The highlighted one."""
        option = self.highlighted_option
        return self._named.get(option.id or "") if option is not None else None

    def show(self, found: Found, current: str, served: frozenset[str], remark: str) -> None:
        """Shows these; the highlight stays on its model, or goes to the `current` one.

        `current` is the name of the chat's model, `served` are those for which an engine runs;
        `remark` stands at the end.
        """
        before = self.chosen
        self._found, self._current, self._served, self._remark = found, current, served, remark
        self._named = {each.name: each for each in found.choices}
        self._write_all([before.name if before is not None else "", current])

    def say(self, name: str, lines: Lines, download: Download | None = None) -> None:
        """Says something below the row of the model `name`, with a bar of a download that runs."""
        said = (lines, download)
        if self._below.get(name, ([], None)) == said and download is None:
            return
        self._below[name] = said
        if (choice := self._named.get(name)) is not None:
            self.replace_option_prompt(name, self._row(choice))

    def on_resize(self) -> None:
        self._write_all([self.chosen.name if self.chosen is not None else "", self._current])

    def _write_all(self, wanted: Sequence[str]) -> None:
        """The first of the `wanted` that is there is highlighted then."""
        self._columns = Columns.fitting(self._found.choices, self._width)
        self.set_options(self._made())
        names = [option.id for option in self.options]
        there = [name for name in (*wanted, *names) if name and name in names]
        self.highlighted = names.index(there[0]) if there else None

    @property
    def _width(self) -> int:
        """Cells of a row: the scroll bar takes one, the padding four."""
        return max(10, (self.size.width or 80) - 5)

    def _made(self) -> list[Option]:
        found = self._found.choices
        to_get = [each for each in found if not each.is_installed]
        groups = {
            "Installed": [each for each in found if each.is_installed],
            "Fits this machine": [each for each in to_get if each.verdict != "no"],
            "Too large": [each for each in to_get if each.verdict == "no"],
        }
        groups["Installed"].sort(key=lambda each: each.name != self._current)
        groups["Fits this machine"].sort(key=lambda each: not each.recommended)
        options: list[Option] = []
        for title, members in groups.items():
            if not members:
                continue
            heading = self._columns.heading(title, is_first=not options)
            if options:
                options.append(Option("", disabled=True))
            options.append(Option(heading, disabled=True))
            options += [Option(self._row(each), each.name) for each in members]
        if self._remark:
            if options:
                options.append(Option("", disabled=True))
            options.append(Option(Content.styled(self._remark, "$foreground-muted"), disabled=True))
        return options

    def _row(self, choice: Choice) -> Content:
        row = self._columns.row(
            choice,
            is_current=choice.name == self._current,
            is_running=choice.name in self._served,
            offsets=self._found.offsets.get(choice.name, ()),
        )
        lines, download = self._below.get(choice.name, ([], None))
        if download is not None:
            row = Content.assemble(row, rows.bar(download))
        return Content.assemble(row, rows.below(lines, self._width))
