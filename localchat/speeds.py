"""How fast models were in real use, by model: numbers only, nothing of what was said.

The engine process writes them, `localchat models fit` reads them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from localchat.paths import make_private
from localchat.types import LoadOptions, ModelRef, Timings, Usage

_FORMAT = 1
_KEPT = 16  # newest runs of a model that count: what changes on a machine shows after some chats

# Shorter runs are mostly the time of their ends.
_LEAST_DECODED = 16  # tokens
_LEAST_PREFILLED = 64  # tokens


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over the newest runs of a model."""

    decode: float
    """Tokens a second."""
    depth: int
    """Tokens that were in the context meanwhile: decoding slows as they grow."""
    prefill: float | None
    """Tokens a second; None if no prompt was long enough to tell."""
    runs: int
    """How many decode runs it rests on."""


class Recorder:
    """Takes in the runs of one model, and writes them when told to."""

    def __init__(self, folder: Path, model: ModelRef, options: LoadOptions) -> None:
        self._folder = folder
        self._key = key(model.sha256, model.path)
        # With a draft model it is the speed of two.
        self._counts = options.draft is None
        self._new: dict[str, list[list[float]]] = {"decode": [], "prefill": []}

    @property
    def has_unsaved(self) -> bool:
        return any(self._new.values())

    def add(self, usage: Usage, timings: Timings) -> None:
        """A request that had the engine to itself."""
        if not self._counts:
            return
        if usage.completion_tokens >= _LEAST_DECODED and timings.decode > 0:
            depth = usage.prompt_tokens + usage.completion_tokens // 2
            rate = (usage.completion_tokens - 1) / timings.decode
            self._new["decode"].append([round(rate, 2), depth])
        prefilled = usage.prompt_tokens - usage.cached_tokens
        if prefilled >= _LEAST_PREFILLED and timings.prefill > 0:
            self._new["prefill"].append([round(prefilled / timings.prefill, 2), prefilled])

    def save(self) -> None:
        """Adds the new runs to those on disk. Raises OSError or LocalchatError; they are dropped.

        Two engines of one model that save at the same instant lose one's runs, which is harmless.
        """
        new, self._new = self._new, {"decode": [], "prefill": []}
        make_private(self._folder)
        target = self._folder / f"{self._key}.json"
        kept = _load(target)
        runs = {kind: (kept[kind] + new[kind])[-_KEPT:] for kind in new}
        temporary = target.with_suffix(f".{os.getpid()}")
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, **runs}, file)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def find(folder: Path, key: str) -> Speed | None:
    """The speed of the model with this `key`; None if it has not run long enough yet."""
    runs = _load(folder / f"{key}.json")
    if not runs["decode"]:
        return None
    return Speed(
        decode=median(rate for rate, _ in runs["decode"]),
        depth=round(median(depth for _, depth in runs["decode"])),
        prefill=median(rate for rate, _ in runs["prefill"]) if runs["prefill"] else None,
        runs=len(runs["decode"]),
    )


def key(sha256: str | None, path: str) -> str:
    """Names a model by its content, or a file that nobody has hashed by its path."""
    return sha256 or "path-" + hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()


def _load(file: Path) -> dict[str, list[list[float]]]:
    """The runs in a file; none of either kind where it is missing or can't be made out."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(file.read_bytes())
        if found["format"] == _FORMAT:
            return {kind: [_run(pair) for pair in found[kind]] for kind in ("decode", "prefill")}
    return {"decode": [], "prefill": []}


def _run(pair: Any) -> list[float]:
    rate, tokens = pair
    if not (type(rate) in (int, float) and type(tokens) is int and 0 < rate < 1e9 and tokens > 0):
        raise ValueError("not a run")
    return [rate, tokens]
