"""Log-probabilities out of a row's logits. Needs numpy, which takes 0.1 s to import: on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from localchat.llama.context import Context


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The model's own distribution after one row: natural logarithms, one per token."""

    values: Any
    """An array of float64, shape (vocabulary size,)."""

    @classmethod
    def after(cls, context: Context, row: int) -> LogProbs:
        """Of the batch's row `row`. Raises EngineFailed if its logits were not asked for."""
        logits = np.array(context.logits(row), dtype=np.float64)
        top = logits.max()
        return cls(logits - (top + np.log(np.exp(logits - top).sum())))

    def of(self, token: int) -> float:
        return float(self.values[token])

    def top(self, count: int) -> tuple[tuple[int, float], ...]:
        """The `count` likeliest tokens with theirs, likeliest first."""
        count = min(count, len(self.values))
        if count == 0:
            return ()
        likeliest = np.argpartition(-self.values, count - 1)[:count]
        ordered = likeliest[np.argsort(-self.values[likeliest], kind="stable")]
        return tuple((int(token), float(self.values[token])) for token in ordered)
