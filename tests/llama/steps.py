"""Runs tokens through a context, the way the tests need it."""

from __future__ import annotations

from localchat.llama.batch import Batch
from localchat.llama.context import Context

TOLERANCE = 1e-2
"""Absolute, on a logit. Measured: 0 while batches have fewer than 64 rows. From 64 on llama.cpp
uses another attention kernel: 0.002 with float weights, 0.6 with the starter model's 4-bit ones."""
CHUNK = 32


def decode(
    context: Context, tokens: list[int], *, sequence: int = 0, start: int = 0, chunk: int = CHUNK
) -> list[float]:
    """Computes `tokens` from position `start`, `chunk` at a time; the logits after the last."""
    batch = Batch(chunk)
    for first in range(0, len(tokens), chunk):
        part = tokens[first : first + chunk]
        batch.clear()
        for offset, token in enumerate(part):
            is_last = first + offset + 1 == len(tokens)
            batch.add(token, start + first + offset, sequence, is_last)
        assert context.decode(batch)
    batch.close()
    return list(context.logits(len(part) - 1))


def difference(left: list[float], right: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(left, right, strict=True))
