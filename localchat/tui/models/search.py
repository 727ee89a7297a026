"""Finds models by a few letters of their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from textual.fuzzy import FuzzySearch

from localchat.tui.models.choices import Choice


@dataclass(frozen=True, slots=True)
class Found:
    """What a list shows."""

    choices: Sequence[Choice] = ()
    offsets: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By name: the characters of it that were looked for."""


class Search:
    """Remembers what it has matched before."""

    def __init__(self) -> None:
        self._fuzzy = FuzzySearch()

    def find(self, wanted: str, choices: Sequence[Choice]) -> Found:
        """The best match first. Without a word, all that can be used here, as they come."""
        wanted = wanted.strip()
        if not wanted:
            return Found([each for each in choices if each.is_installed or each.verdict != "no"])
        scores: dict[str, float] = {}
        offsets: dict[str, Sequence[int]] = {}
        for each in choices:
            score, offsets[each.name] = self._fuzzy.match(wanted, each.name)
            aliases = (self._fuzzy.match(wanted, key)[0] for key in each.keys)
            scores[each.name] = max(score, *aliases, 0.0)
        found = [each for each in choices if scores[each.name] > 0]
        return Found(sorted(found, key=lambda each: -scores[each.name]), offsets)
