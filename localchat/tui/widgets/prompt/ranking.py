"""Which of many names are meant by a few letters."""

from __future__ import annotations

import math
from collections.abc import Iterable

from textual.fuzzy import FuzzySearch

_MOST_LETTERS = 64
_MOST_WAYS = 1000  # of finding the letters in a name, before the first way is taken


def rank(query: str, names: Iterable[str], most: int) -> list[str]:
    """The best matches, the best first; of equally good ones the shorter, then the earlier.

    Without a query it is the first names. What lies behind the last slash of a name counts more.
    """
    names = list(names)
    if not query:
        return names[:most]
    query = query[:_MOST_LETTERS].lower()
    search = FuzzySearch()
    scored = []
    for place, name in enumerate(names):
        score = _score(search, query, name.lower())
        if score > 0:
            scored.append((-score, len(name), place, name))
    return [name for *_, name in sorted(scored)[:most]]


def _score(search: FuzzySearch, query: str, name: str) -> float:
    score = _match(search, query, name)
    if score == 0:
        return 0.0
    last = name[name.rfind("/") + 1 :]
    if last.startswith(query):
        return 3 * score
    return max(score, 2 * _match(search, query, last)) if last != name else score


def _match(search: FuzzySearch, query: str, name: str) -> float:
    first = _first_way(query, name)
    if first is None:
        return 0.0
    # The search tries every way there is: their number is exponential in the letters.
    ways = math.prod(name.count(letter) for letter in query)
    if query in name or ways <= _MOST_WAYS:
        return search.match(query, name)[0]
    return search.score(name, first)


def _first_way(query: str, name: str) -> list[int] | None:
    positions = []
    at = -1
    for letter in query:
        at = name.find(letter, at + 1)
        if at < 0:
            return None
        positions.append(at)
    return positions
