"""Names the one model to begin with on this machine, and says why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localchat.errors import OutOfSpace
from localchat.registry.fitting.ranking import Fit, size

READING = 8.0
"""Tokens a second: a reader takes some 240 words a minute, 5 or 6 tokens a second. What is slower
than this is waited for, the more so as decoding slows while a conversation grows."""

# What a model that always thinks writes before its answer is some times as long.
_THINKING = 3.0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One model, and the sentence that says why."""

    fit: Fit
    reason: str


def recommend(fits: Iterable[Fit]) -> Recommendation:
    """The best of the chat models that fit and write as fast as one reads; of `fits`, in order.

    One whose bytes the catalogue pins, and whose licence forbids nothing that a user might do,
    comes before all others: it can be taken without reading up on it. Where none is fast enough,
    it is the fastest of those that fit. Only chat models: the others don't answer, or see, or
    write code, which not everybody wants.

    Raises OutOfSpace if none fits.
    """
    fitting = [each for each in fits if each.verdict == "fits" and each.candidate.kind == "chat"]
    if not fitting:
        raise OutOfSpace(
            "No chat model of the catalogue fits this machine with room to spare.",
            "localchat models fit",
        )
    fast = [each for each in fitting if _is_fast(each)]
    if not fast:
        best = max(fitting, key=lambda each: each.speed or 0.0)
        return Recommendation(best, _slow_reason(best))
    best = min(fast, key=_concerns)  # the first of those: `fits` begins with the best
    return Recommendation(best, _reason(best, len(fast)))


def _is_fast(fit: Fit) -> bool:
    needed = READING * (_THINKING if fit.candidate.thinking == "always" else 1.0)
    return fit.speed is None or fit.speed >= needed


def _concerns(fit: Fit) -> int:
    """How many things there are to be read up on."""
    return (not fit.candidate.is_pinned) + (fit.candidate.licence_note is not None)


def _reason(best: Fit, count: int) -> str:
    others = f"the best of {count} chat models that fit" if count > 1 else "the one model that fits"
    return (
        f"It is {others} into memory and write at reading speed here: it needs"
        f" {size(best.needs.total)} with {best.context:,} tokens of context{_speed(best)}."
    )


def _slow_reason(best: Fit) -> str:
    return (
        "No chat model that fits is expected to write at reading speed here; this one is the"
        f" fastest{_speed(best)}. It needs {size(best.needs.total)} of memory."
    )


def _speed(fit: Fit) -> str:
    if fit.speed is None:
        return ""
    verb = "wrote" if fit.basis == "measured" else "should write about"
    return f", and {verb} {fit.speed:.0f} tokens/s"
