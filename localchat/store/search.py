"""Finding messages by their words.

The user's text is never a query language: words, and "phrases" between quotes, all of which a
message must have. Accents and case don't count.
"""

from __future__ import annotations

import math
import os
import re
import time

import apsw

from localchat.store import rows
from localchat.store.connection import every
from localchat.store.records import Hit

_MOST_WORDS = 32
_RANKED = 2000  # newest matches that are compared: more would take longer than 100 ms
_SNIPPET = 24  # words
_HALF_LIFE = 180 * 86_400.0  # seconds after which a message counts half as much as a new one
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_SPACE = re.compile(r"\s")


def expression(query: str, *, is_complete: bool = True) -> str:
    """`query` in the language of FTS5; empty if there is no word in it.

    If it is not complete, its last word may go on.
    """
    terms = [phrase or word for phrase, word in _TERM.findall(query.replace("\0", " "))][
        :_MOST_WORDS
    ]
    quoted = [f'"{term}"' for term in terms if any(letter.isalnum() for letter in term)]
    if quoted and not is_complete and not query.endswith(('"', " ")):
        quoted[-1] += "*"
    return " ".join(quoted)


def search(
    connection: apsw.Connection, query: str, limit: int, *, is_complete: bool = True
) -> list[Hit]:
    """The best matches first: rare words and short messages count more, and so do newer ones."""
    wanted = expression(query, is_complete=is_complete)
    if not wanted:
        return []
    newest = every(
        connection,
        "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?",
        (wanted, _RANKED),
    )
    if not newest:
        return []
    now = time.time()
    ranked = sorted(
        (bm25 * _freshness(now - created), -seq)
        for seq, bm25, created in every(
            connection,
            """SELECT seq, bm25(words), created FROM words JOIN messages ON seq = words.rowid
               WHERE words MATCH ? AND words.rowid >= ?""",
            (wanted, newest[-1][0]),
        )
    )
    mark = os.urandom(8).hex()  # the text can't have it by chance, or on purpose
    return [_hit(connection, wanted, -seq, mark) for _, seq in ranked[:limit]]


def _freshness(age: float) -> float:
    """From 1 for a new message to a half for a very old one."""
    return 0.5 + 0.5 * math.exp2(-max(age, 0.0) / _HALF_LIFE)


def _hit(connection: apsw.Connection, wanted: str, seq: int, mark: str) -> Hit:
    conversation, role, created, snippet = every(
        connection,
        """SELECT conversation, role, created, snippet(words, 0, ?1, ?1, '…', ?2)
           FROM words JOIN messages ON seq = words.rowid
           WHERE words MATCH ?3 AND words.rowid = ?4""",
        (mark, _SNIPPET, wanted, seq),
    )[0]
    pieces = _SPACE.sub(" ", snippet).split(mark)
    marks = []
    place = 0
    for number, piece in enumerate(pieces):
        if number % 2:
            marks.append((place, place + len(piece)))
        place += len(piece)
    return Hit(
        rows.conversation(connection, conversation),
        rows.short_id(connection, conversation),
        seq,
        role,
        created,
        "".join(pieces),
        tuple(marks),
    )
