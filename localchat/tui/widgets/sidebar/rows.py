"""What the list of conversations consists of: values, no widgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

from localchat.store.records import Conversation, Hit
from localchat.tui.widgets.one_line import flat, one_line
from localchat.tui.widgets.sidebar.days import day_of, heading

Marks = tuple[tuple[int, int], ...]


class Heading(NamedTuple):
    """A line above the conversations of a day; it can't be chosen."""

    text: str
    height: int
    """Lines: one of them is empty, but not above the first heading."""


class Entry(NamedTuple):
    """A conversation."""

    conversation: str
    given: str
    """Its title as it came, which is made harmless only where it is shown."""
    message: None = None
    height: int = 1

    @property
    def title(self) -> str:
        return _title(self.given)


class Found(NamedTuple):
    """A message that a search found, or a title (then `message` is None)."""

    conversation: str
    message: int | None
    title: str
    title_marks: Marks
    snippet: str
    marks: Marks
    """Where in `snippet` the words are."""
    height: int


Row = Heading | Entry | Found
Choice = Entry | Found


def by_day(conversations: Iterable[Conversation], today: date) -> Iterator[Row]:
    """The conversations, newest first as they are given, below a heading for each day."""
    last: date | None = None
    text = ""
    for conversation in conversations:
        # To name a day takes longer than all the rest.
        if (day := day_of(conversation.updated, today)) != last:
            last = day
            if (new := heading(day, today)) != text:
                yield Heading(new, 2 if text else 1)
                text = new
        yield Entry(conversation.id, conversation.title)


def found(hits: Iterable[Hit]) -> Iterator[Row]:
    """What a search found, the best first as it is given."""
    for hit in hits:
        snippet = flat(hit.snippet)
        marks = tuple((_place(hit, start), _place(hit, end)) for start, end in hit.marks)
        if hit.message is None:
            yield Found(hit.conversation.id, None, snippet, marks, "", (), 1)
        else:
            title = _title(hit.conversation.title)
            yield Found(hit.conversation.id, hit.message, title, (), snippet, marks, 2)


def _title(given: str) -> str:
    return one_line(given) or "Untitled"


def _place(hit: Hit, place: int) -> int:
    """A place in the snippet, once what is harmful has been dropped from it."""
    return len(flat(hit.snippet[:place]))
