"""Log-probabilities out of a row's logits. Needs numpy, which takes 0.1 s to import: on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from localchat.llama.context import Context


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The model's own distribution after one row: natural logarithms, one per token."""

    logits: Any
    """An array of float32, shape (vocabulary size,)."""
    normalizer: float
    """What a logit is more than its logarithm."""

    @classmethod
    def after(cls, context: Context, row: int) -> LogProbs:
        """Of the batch's row `row`. Raises EngineFailed if its logits were not asked for."""
        logits = np.array(context.logits(row), dtype=np.float32)
        top = logits.max()
        # Powers in single precision, a tenth of the time, and their sum in double.
        total = np.exp(logits - top).sum(dtype=np.float64)
        return cls(logits, float(top) + math.log(total))

    def of(self, token: int) -> float:
        return float(self.logits[token]) - self.normalizer

    def top(self, count: int) -> tuple[tuple[int, float], ...]:
        """The `count` likeliest tokens with theirs, likeliest first."""
        count = min(count, len(self.logits))
        if count == 0:
            return ()
        likeliest = np.argpartition(-self.logits, count - 1)[:count]
        ordered = likeliest[np.argsort(-self.logits[likeliest], kind="stable")]
        return tuple((int(token), self.of(token)) for token in ordered)
