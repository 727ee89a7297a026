"""Under which heading a conversation stands: by the day it was last updated."""

from __future__ import annotations

from datetime import date


def day_of(updated: float, today: date) -> date:
    """The day in local time; the first one of all for a time that no calendar has.

    `updated` is in seconds since the epoch. A clock that was set back leaves some in the future:
    they are of today.
    """
    try:
        return min(date.fromtimestamp(updated), today)
    except (OverflowError, ValueError, OSError):
        return date.min  # An imported conversation may have any number.


def heading(day: date, today: date) -> str:
    """Today, Yesterday, a weekday of the last seven days, or a month."""
    ago = (today - day).days
    if ago == 0:
        return "Today"
    if ago == 1:
        return "Yesterday"
    if ago < 7:
        return f"{day:%A}"
    if day == date.min:
        return "Long ago"
    return f"{day:%B}" if day.year == today.year else f"{day:%B} {day.year}"
