"""How long a source is tried that does not answer as it should, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable

from localchat.errors import NetworkNeeded

IDLE = 30.0
"""Seconds without a byte after which a connection is given up, and made anew."""

ATTEMPTS = 6
"""Tries in a row that bring nothing new before a source counts as out of reach."""

PAUSE = 0.5
"""Seconds before the second try; doubled each time, up to `_LONGEST`."""

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of servers that are busy, or being repaired: another try may bring the file."""

_LONGEST = 30.0
_LONGEST_ASKED = 120.0  # what a server may ask for: longer, and the next source is better
_WORTH_A_WORD = 2.0  # seconds


class Interruption(Exception):
    """The transfer broke off in a way that another try may mend."""

    def __init__(self, reason: str, after: str | None = None) -> None:
        """`after`: the server's Retry-After, if it sent one."""
        super().__init__(reason)
        seconds = after or ""
        self.after = float(seconds) if seconds.isdecimal() else None
        """Seconds to wait before the next try, by the server's word."""


class Patience:
    """Counts tries that brought nothing new, and waits between them."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._vain = 0

    def progressed(self) -> None:
        """The last try brought something: the count starts anew."""
        self._vain = 0

    def wait(self, reason: Interruption) -> None:
        """Returns when it is time to try again. Raises NetworkNeeded when it was often enough."""
        self._vain += 1
        if self._vain >= ATTEMPTS:
            raise NetworkNeeded(f"The download broke off: {reason}.") from reason
        pause = min(PAUSE * 2 ** (self._vain - 1), _LONGEST)
        if reason.after is not None:
            pause = min(max(pause, reason.after), _LONGEST_ASKED)
        if pause >= _WORTH_A_WORD:
            text = str(reason)
            self._note(f"{text[:1].upper()}{text[1:]}; trying again in {pause:.0f} s …")
        time.sleep(pause)
