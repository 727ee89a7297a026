"""When text that comes is to be drawn: such that drawing takes a bounded share of a core."""

from __future__ import annotations

_SHARE = 0.2  # of one core
_SHORTEST = 0.05  # seconds between two updates: more often is no smoother to read


class Pace:
    """Spaces updates by what they cost."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next update may begin; 0: it may begin now."""
        return max(self._next - now, 0.0)

    def spent(self, began: float, seconds: float) -> None:
        """An update that began at `began` took `seconds` of processor time."""
        self._next = began + max(seconds / _SHARE, _SHORTEST)
