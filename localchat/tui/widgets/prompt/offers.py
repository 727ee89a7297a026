"""What is offered for a word, and how it is shown in a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from localchat.sanitize import clean
from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.ranking import rank
from localchat.tui.widgets.prompt.wanted import Wanted

_MOST = 50
_GAP = 2  # cells between a command and its meaning


class Offer(NamedTuple):
    """A word that could be meant."""

    word: str
    """As it is put into the text, without its sign."""
    argument: str = ""
    """Of a command: what may follow."""
    meaning: str = ""


def commands(query: str, known: Iterable[Command]) -> list[Offer]:
    """Those that begin with `query` come first, in their own order."""
    by_name = {command.name: command for command in known}
    beginning = [name for name in by_name if name.startswith(query.lower())]
    others = [name for name in rank(query, by_name, _MOST) if name not in beginning]
    return [Offer(*by_name[name]) for name in (*beginning, *others)]


def arguments(wanted: Wanted, candidates: Mapping[str, Sequence[str]]) -> list[Offer]:
    """Of the command; none if what is written is one of them already."""
    names = candidates.get(wanted.command, ())
    if wanted.query in names:
        return []
    return [Offer(name) for name in rank(wanted.query, names, _MOST)]


def files(query: str, paths: Sequence[str]) -> list[Offer]:
    return [Offer(path) for path in rank(query, paths, _MOST)]


def rows(offers: Sequence[Offer], sign: str, width: int) -> list[Content]:
    """A line of at most `width` cells for each; where there are meanings, they are one column."""
    words = [clean(f"{sign}{offer.word}") for offer in offers]
    column = max(
        cell_len(word) + (cell_len(offer.argument) + 1 if offer.argument else 0)
        for word, offer in zip(words, offers, strict=True)
    )
    return [
        (_with_meaning(word, offer, column) if offer.meaning else _path(word, width)).truncate(
            max(width, 1), ellipsis=True
        )
        for word, offer in zip(words, offers, strict=True)
    ]


def _with_meaning(word: str, offer: Offer, column: int) -> Content:
    argument = set_cell_size(f" {offer.argument}", column - cell_len(word) + _GAP)
    return Content.assemble(word, (f"{argument}{offer.meaning}", "dim"))


def _path(word: str, width: int) -> Content:
    """The file's name stands out; of a long path the beginning is left out."""
    folder, slash, name = word.rpartition("/")
    excess = cell_len(word) - width
    if excess > 0 and slash:
        folder = f"…{folder[excess + 1 :]}"
    return Content.assemble((f"{folder}{slash}", "dim"), name)
