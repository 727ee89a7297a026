"""Keys that terminals send in ways Textual does not know yet."""

from __future__ import annotations

from typing import Any

from textual import _ansi_sequences
from textual.keys import Keys


def teach_alt_enter() -> None:
    """Makes Alt+Enter of terminals without the newer keyboard protocol a key for a new line.

    They send Esc and Enter; Textual makes Enter of it after a moment: the prompt would be sent.
    Many terminals are set up to send the same for Shift+Enter.
    """
    sequences: Any = _ansi_sequences.ANSI_SEQUENCES_KEYS
    sequences.setdefault("\x1b\r", (Keys.ControlJ,))


def known(key: str) -> str:
    """The name of a key by which it is bound: xterm's own way of Shift+Enter ends in its code."""
    return key.replace("\r", "enter")
