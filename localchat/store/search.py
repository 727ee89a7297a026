"""Finding messages by their words.

The user's text is never a query language: words, and "phrases" between quotes, all of which a
message must have. Accents and case don't count. What the index has no words for, signs and scripts
that are written without spaces, is looked for as it is.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from typing import NamedTuple

import apsw

from localchat.store import rows
from localchat.store.connection import every
from localchat.store.records import Hit

_MOST_TERMS = 32
_RANKED = 2000  # newest matches that are compared: more would take longer than 100 ms
_SNIPPET = 24  # words
_AROUND = 60  # characters on either side of what was found as it is
_SHORTEST_BEGINNING = 3  # letters: fewer begin so many words that it takes seconds
_HALF_LIFE = 180 * 86_400.0  # seconds after which an old message has lost half of what age takes
_MATCHING = """
    SELECT seq, relevance(words), created FROM words JOIN messages ON seq = words.rowid
    WHERE words MATCH ? (parts) ORDER BY words.rowid DESC LIMIT ?
"""
_SAID = "SELECT seq FROM said WHERE true (parts) ORDER BY seq DESC LIMIT ?"
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_SPACE = re.compile(r"\s")
# Thai to Myanmar, Khmer, kana and ideographs, also those of the further planes.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Wanted(NamedTuple):
    """A query, taken apart."""

    words: str
    """In the language of FTS5; empty if there are none."""
    parts: tuple[str, ...]
    """What must be in the text as it is."""


def parse(query: str, *, is_complete: bool = True) -> Wanted:
    """If the query is not complete, its last word may go on."""
    terms = [
        term
        for phrase, word in _TERM.findall(query.replace("\0", " "))
        if (term := (phrase or word).strip())
    ][:_MOST_TERMS]
    parts = [term for term in terms if _UNSPACED.search(term) or not _has_words(term)]
    words = [f'"{term}"' for term in terms if term not in parts]
    goes_on = not is_complete and bool(terms) and query.endswith(terms[-1])
    if goes_on and terms[-1] not in parts and len(terms[-1]) >= _SHORTEST_BEGINNING:
        words[-1] += "*"
    return Wanted(" ".join(words), tuple(parts))


def _has_words(term: str) -> bool:
    return any(letter.isalnum() for letter in term)


def search(
    connection: apsw.Connection, query: str, limit: int, *, is_complete: bool = True
) -> list[Hit]:
    """Titles first, then messages: those that say it often, are short and are new before others."""
    wanted = parse(query, is_complete=is_complete)
    if not wanted.words and not wanted.parts:
        return []
    hits = _titled(connection, query)
    matches = _ranked(connection, wanted) if wanted.words else _newest(connection, wanted, limit)
    hits += [_hit(connection, wanted, seq) for seq in matches[:limit]]
    return hits[:limit]


def _ranked(connection: apsw.Connection, wanted: Wanted) -> list[int]:
    connection.register_fts5_function("relevance", _relevance)
    now = time.time()
    matching = every(
        connection,
        _MATCHING.replace("(parts)", "AND instr(messages.content, ?) " * len(wanted.parts)),
        (wanted.words, *wanted.parts, _RANKED),
    )
    ranked = sorted(
        (-relevance * _freshness(now - created), -seq) for seq, relevance, created in matching
    )
    return [-seq for _, seq in ranked]


def _relevance(message: apsw.FTS5ExtensionApi, *_: object) -> float:
    """BM25 without the rarity of each word. Every match has all of the words, so that changes
    little, and to count how many others have a common phrase takes 50 ms.
    """
    length = message.column_size(0) * message.row_count / message.column_total_size(0)
    needed = 0.3 + 0.9 * length  # k1 = 1.2, b = 0.75
    counts = [len(message.phrase_column_offsets(n, 0)) for n in range(message.phrase_count)]
    return sum(2.2 * count / (count + needed) for count in counts)


def _freshness(age: float) -> float:
    """From 1 for a new message to a half for a very old one."""
    return 0.5 + 0.5 * math.exp2(-max(age, 0.0) / _HALF_LIFE)


def _newest(connection: apsw.Connection, wanted: Wanted, limit: int) -> list[int]:
    found = every(
        connection,
        _SAID.replace("(parts)", "AND instr(content, ?) " * len(wanted.parts)),
        (*wanted.parts, limit),
    )
    return [seq for (seq,) in found]


def _titled(connection: apsw.Connection, query: str) -> list[Hit]:
    """The conversations whose own title has the query in it."""
    words = re.escape(" ".join(query.replace('"', " ").split()))
    hits = []
    for found in rows.titled(connection):
        if match := re.search(words, found.title, re.IGNORECASE):
            short = rows.short_id(connection, found.id)
            marks = (match.span(),)
            hits.append(Hit(found, short, None, None, found.created, found.title, marks))
    return hits


def _hit(connection: apsw.Connection, wanted: Wanted, seq: int) -> Hit:
    ((conversation, role, created, content),) = every(
        connection,
        "SELECT conversation, role, created, content FROM messages WHERE seq = ?",
        (seq,),
    )
    snippet, marks = (
        _marked(connection, wanted.words, seq) if wanted.words else _around(content, wanted.parts)
    )
    return Hit(
        rows.conversation(connection, conversation),
        rows.short_id(connection, conversation),
        seq,
        role,
        created,
        snippet,
        marks,
    )


def _marked(
    connection: apsw.Connection, words: str, seq: int
) -> tuple[str, tuple[tuple[int, int], ...]]:
    mark = os.urandom(8).hex()  # the text can't have it by chance, or on purpose
    ((snippet,),) = every(
        connection,
        """SELECT snippet(words, 0, ?1, ?1, '…', ?2) FROM words
           WHERE words MATCH ?3 AND words.rowid = ?4""",
        (mark, _SNIPPET, words, seq),
    )
    pieces = _SPACE.sub(" ", snippet).split(mark)
    ends = list(itertools.accumulate(map(len, pieces)))
    return "".join(pieces), tuple(zip(ends[::2], ends[1::2], strict=False))


def _around(content: str, parts: tuple[str, ...]) -> tuple[str, tuple[tuple[int, int], ...]]:
    place = content.find(parts[0])
    start = max(place - _AROUND, 0)
    end = min(place + len(parts[0]) + _AROUND, len(content))
    before, after = "…" if start else "", "…" if end < len(content) else ""
    snippet = before + _SPACE.sub(" ", content[start:end]) + after
    found = [match.span() for part in parts for match in re.finditer(re.escape(part), snippet)]
    return snippet, tuple(sorted(found))
