from __future__ import annotations

from datetime import date, datetime

from localchat.tui.widgets.sidebar.rows import Entry, Found, Heading, by_day, found
from tests.tui.widgets.sidebar.samples import conversation, hit


def test_conversations_stand_below_the_headings_of_their_days() -> None:
    given = [
        conversation(1),
        conversation(2),
        conversation(3, days=1),
        conversation(4, days=400),
        conversation(5, days=400.0001),
    ]
    rows = [*by_day(given, date.today())]
    assert [row.text if isinstance(row, Heading) else row.title for row in rows[:5]] == [
        "Today",
        "Title 1",
        "Title 2",
        "Yesterday",
        "Title 3",
    ]
    assert [row.height for row in rows] == [1, 1, 1, 2, 1, 2, 1, 1]


def test_days_of_one_month_share_a_heading() -> None:
    days = [datetime(2001, 5, day, 12).timestamp() for day in (6, 5)]
    given = [conversation(1)._replace(updated=updated) for updated in days]
    rows = [*by_day(given, date(2025, 3, 31))]
    assert [row.text for row in rows if isinstance(row, Heading)] == ["May 2001"]


def test_titles_are_harmless() -> None:
    titles = ["a\x1b]0;x\x07\nb", "\x1b\x1b", "[red]b[/]"]
    rows = by_day([conversation(1, title) for title in titles], date.today())
    assert [row.title for row in rows if isinstance(row, Entry)] == [
        "a]0;x b",
        "Untitled",
        "[red]b[/]",
    ]


def test_marks_stay_at_their_words() -> None:
    (row,) = found([hit(1, "\x1b[1mthe\nword\x07 \x9bhere", [(8, 12), (15, 19)])])
    assert isinstance(row, Found)
    assert row.snippet == "[1mthe word here"
    assert [row.snippet[start:end] for start, end in row.marks] == ["word", "here"]


def test_of_a_title_that_was_found_only_the_title_is_shown() -> None:
    (row,) = found([hit(1, "My title", [(3, 8)], message=None)])
    assert isinstance(row, Found)
    assert (row.title, row.title_marks, row.snippet) == ("My title", ((3, 8),), "")
    assert row.height == 1
