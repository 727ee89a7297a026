from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date

import pytest

from localchat.tui.widgets.sidebar.days import day_of, heading

TODAY = date(2025, 3, 31)  # a Monday; the day before, Berlin's clocks skipped an hour


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def at(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2025-03-31 00:00", "Today"),
        ("2025-03-31 23:59", "Today"),
        ("2025-04-02 12:00", "Today"),  # a clock that was set back
        ("2025-03-30 23:59", "Yesterday"),
        ("2025-03-30 00:00", "Yesterday"),
        ("2025-03-29 23:59", "Saturday"),
        ("2025-03-25 00:00", "Tuesday"),
        ("2025-03-24 23:59", "March"),
        ("2025-01-01 00:00", "January"),
        ("2024-12-31 23:59", "December 2024"),
        ("1999-05-05 12:00", "May 1999"),
    ],
)
def test_headings(when: str, expected: str) -> None:
    assert heading(day_of(at(when), TODAY), TODAY) == expected


@pytest.mark.parametrize("updated", [float("nan"), float("inf"), -1e300])
def test_a_time_that_no_calendar_has(updated: float) -> None:
    assert heading(day_of(updated, TODAY), TODAY) == "Long ago"
