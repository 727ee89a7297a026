"""Titles of conversations, made from their first message without asking a model."""

from __future__ import annotations

from localchat.sanitize import clean

_LONGEST = 60  # characters
_UNTITLED = "Untitled"


def title_of(text: str) -> str:
    """The first line with words in it, shortened at a word to 60 characters.

    Lines in a fenced block count only if there are no others: what was piped in stands there,
    before the question.
    """
    line = _first_line(text, fenced=False) or _first_line(text, fenced=True) or _UNTITLED
    if len(line) <= _LONGEST:
        return line
    cut = line[: _LONGEST - 1]
    words, space, _ = cut.rpartition(" ")
    # A word as long as half a title is cut itself.
    kept = cut if line[len(cut)] == " " or not space or len(words) < _LONGEST // 2 else words
    return f"{kept.rstrip(' ,;:.-')}…"


def _first_line(text: str, *, fenced: bool) -> str:
    fence = ""
    for line in clean(text[:100_000]).splitlines():
        stripped = line.strip()
        if fence:
            if stripped.startswith(fence) and not stripped.strip("`~"):
                fence = ""
                continue
        elif stripped.startswith(("```", "~~~")):
            fence = stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]
            continue
        words = " ".join(stripped.lstrip("#>*- ").split())
        if bool(fence) == fenced and any(character.isalnum() for character in words):
            return words
    return ""
