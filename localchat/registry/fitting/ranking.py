"""Which models this machine can run, and how well: before anything is downloaded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat import fit, speeds
from localchat.config import Settings
from localchat.fit import Estimate
from localchat.registry.fitting import decode_speed
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.capacity import Capacity
from localchat.types import KVType, LoadOptions

Verdict = Literal["fits", "tight", "no"]
Basis = Literal["measured", "scaled", "expected", "at least"]

CONTEXT = 4096
"""Tokens that a model is judged with where nobody says; fewer if it was trained for fewer."""

_ORDER: tuple[Verdict, ...] = ("fits", "tight", "no")

# What has to be left of the memory for other programs, or it is tight: a tenth of it, or so much.
_SPARE_SHARE, _SPARE = 10, 2**28

# Beyond its own size: as `pull` asks for.
_DISK_SHARE = 0.05

# A rule of thumb: a model of a year ago is as good as one of half its size today. Models got better
# faster than that in the years of this catalogue, so it errs against the new.
_HALVING = 1.0  # years
_OLDEST = "2023"  # what does not say when it came out is taken for that old

# What real runs of one model say of others: from so many on, since the machine may have been busy
# meanwhile, and within these bounds.
_ENOUGH_RUNS = 3
_LEAST_RATIO, _MOST_RATIO = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Fit:
    """One model on one machine."""

    candidate: Candidate
    verdict: Verdict
    reasons: tuple[str, ...]
    """Why it does not fit, or is tight; none where it fits."""
    context: int
    """Tokens."""
    needs: Estimate
    speed: float | None
    """Tokens a second when half of the context is filled; None: can't be told."""
    basis: Basis | None
    """measured: in real runs of this model here, as full as the context was. scaled: expected,
    times what real runs of another model here were of theirs. at least: part of it would be
    computed on a GPU, whose memory is faster than what was assumed."""

    @property
    def quality(self) -> float:
        """How good the model is likely to be: the base 2 logarithm of its size, and its age."""
        return quality(self.candidate)


@dataclass(frozen=True, slots=True)
class Question:
    """What the models are judged by, beside the machine."""

    context: int | None = None
    """Tokens; None: `CONTEXT`."""
    kv_type: KVType = "f16"
    sequences: int = LoadOptions().parallel + fit.SPARE_SEQUENCES
    """Requests whose states a recurrent model keeps apart."""


def question(settings: Settings, context: int | None) -> Question:
    """As engines would be started with these settings."""
    return Question(context, settings.kv_type, settings.parallel + fit.SPARE_SEQUENCES)


def rank(
    candidates: Iterable[Candidate], capacity: Capacity, question: Question, runs: Path
) -> list[Fit]:
    """The best first: what fits before what is tight, then by quality.

    `runs` is the folder with the speeds of real runs.
    """
    candidates = list(candidates)
    real = _real_runs(candidates, capacity, question, runs)
    found = [_judge(each, capacity, question, real) for each in candidates]
    return sorted(found, key=lambda each: (_ORDER.index(each.verdict), -each.quality))


def quality(candidate: Candidate) -> float:
    """See `Fit.quality`. A mixture of experts counts as the geometric mean of all and active."""
    size = candidate.parameters * math.sqrt(candidate.active_share)
    year, _, month = (candidate.released or _OLDEST).partition("-")
    age = int(year) + (int(month or 1) - 1) / 12
    return math.log2(max(1.0, size)) + age / _HALVING


@dataclass(frozen=True, slots=True)
class _Run:
    """What real runs of one model came to."""

    decode: float
    """Tokens a second."""
    ratio: float | None
    """Of what was to be expected; None: it says nothing of other models."""
    read: decode_speed.Traffic


def _real_runs(
    candidates: list[Candidate], capacity: Capacity, question: Question, folder: Path
) -> dict[str, _Run]:
    """By speed key."""
    found = {}
    for each in candidates:
        speed = speeds.find(folder, each.speed_key) if each.speed_key else None
        if speed is None or each.speed_key is None:
            continue
        kv_bytes = each.needs(speed.depth, question.kv_type, 1).kv_cache
        needed = each.needs(speed.depth, question.kv_type, question.sequences).total
        read = decode_speed.traffic(each, kv_bytes, needed, capacity)
        ratio = None
        if capacity.bandwidth and speed.runs >= _ENOUGH_RUNS:
            ratio = speed.decode / decode_speed.expected(read, capacity.bandwidth)
            ratio = min(max(ratio, _LEAST_RATIO), _MOST_RATIO)
        found[each.speed_key] = _Run(speed.decode, ratio, read)
    return found


def _judge(
    candidate: Candidate, capacity: Capacity, question: Question, real: dict[str, _Run]
) -> Fit:
    trained = candidate.context_length
    context = question.context or min(CONTEXT, trained or CONTEXT)
    needs = candidate.needs(context, question.kv_type, question.sequences)
    short: list[str] = []
    tight: list[str] = []
    if trained and context > trained:
        short.append(f"trained for {trained:,} tokens")
    left = capacity.memory + capacity.vram - needs.total
    if left + capacity.swap < 0:
        short.append(f"memory short by {size(-left)}")
    elif left < 0:
        tight.append(f"{size(-left)} of swap")
    elif left < max((capacity.memory + capacity.vram) // _SPARE_SHARE, _SPARE):
        tight.append(f"leaves {size(left)} of memory")
    if not candidate.installed:
        wanted = round(candidate.download * (1 + _DISK_SHARE))
        if wanted > capacity.disk:
            short.append(f"disk short by {size(wanted - capacity.disk)}")
    speed, basis = _speed(candidate, context, needs, capacity, question, real)
    return Fit(
        candidate,
        verdict="no" if short else "tight" if tight else "fits",
        reasons=tuple(short or tight),
        context=context,
        needs=needs,
        speed=speed,
        basis=basis,
    )


def _speed(
    candidate: Candidate,
    context: int,
    needs: Estimate,
    capacity: Capacity,
    question: Question,
    real: dict[str, _Run],
) -> tuple[float | None, Basis | None]:
    if candidate.kind == "embedding":
        return None, None  # it writes nothing
    if candidate.speed_key in real:
        return real[candidate.speed_key].decode, "measured"
    if not capacity.bandwidth:
        return None, None
    kv_bytes = candidate.needs(context, question.kv_type, 1).kv_cache // 2
    read = decode_speed.traffic(candidate, kv_bytes, needs.total, capacity)
    speed = decode_speed.expected(read, capacity.bandwidth)
    # A model of another size says less of this one.
    alike = [(abs(math.log(run.read.total / read.total)), run.ratio) for run in real.values()]
    ratios = [ratio for _, ratio in sorted(alike, key=lambda pair: pair[0]) if ratio is not None]
    if ratios:
        return speed * ratios[0], "scaled"
    return speed, "at least" if read.vram else "expected"


def size(count: int) -> str:
    """Bytes, as people say it."""
    return f"{count / 1e9:,.1f} GB" if count >= 999_500_000 else f"{count / 1e6:,.0f} MB"


def speed(fit: Fit) -> str:
    """Tokens a second, with the mark of what it rests on."""
    if fit.speed is None:
        return "-"
    mark = {"measured": "", "at least": ">"}.get(fit.basis or "", "~")
    return f"{mark}{fit.speed:.1f}" if fit.speed < 10 else f"{mark}{fit.speed:.0f}"
