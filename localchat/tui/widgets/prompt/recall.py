"""Walking through earlier prompts without losing what is being typed."""

from __future__ import annotations

from collections.abc import Sequence


class Recall:
    """A walk through the earlier prompts; what is being typed is the newest of them.

    Prompts that are changed on the way keep their change until the walk begins anew.
    """

    def __init__(self, earlier: Sequence[str] = ()) -> None:
        """`earlier`: the newest last."""
        self._earlier = list(earlier)
        self._at = len(self._earlier)
        self._changed: dict[int, str] = {}

    def older(self, typed: str) -> str | None:
        """The prompt before the one that is shown now as `typed`; None if that is the oldest."""
        return self._step(-1, typed)

    def newer(self, typed: str) -> str | None:
        """The prompt after the one that is shown now as `typed`; None if that is the newest."""
        return self._step(1, typed)

    def _step(self, by: int, typed: str) -> str | None:
        target = self._at + by
        if not 0 <= target <= len(self._earlier):
            return None
        self._changed[self._at] = typed
        self._at = target
        return self._changed[target] if target in self._changed else self._earlier[target]
