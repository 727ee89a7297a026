"""What the screen opens with, as values: imported before the first frame."""

from __future__ import annotations

from typing import NamedTuple


class Start(NamedTuple):
    conversation: str | None = None
    """Whole id of a conversation to go on with."""
    is_private: bool = False
    """Whether nothing of the first chat is to be kept."""
