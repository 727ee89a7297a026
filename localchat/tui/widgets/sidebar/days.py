"""Under which heading a conversation stands: by the day it was last updated."""

from __future__ import annotations

from datetime import date


def heading(updated: float, today: date) -> str:
    """Today, Yesterday, a weekday of the last seven days, or a month; in local time.

    `updated` is in seconds since the epoch.
    """
    try:
        day = date.fromtimestamp(updated)
    except (OverflowError, ValueError, OSError):
        return "Long ago"  # An imported conversation may have any number.
    ago = (today - day).days
    if ago <= 0:  # A clock that was set back leaves some in the future.
        return "Today"
    if ago == 1:
        return "Yesterday"
    if ago < 7:
        return f"{day:%A}"
    return f"{day:%B}" if day.year == today.year else f"{day:%B} {day.year}"
