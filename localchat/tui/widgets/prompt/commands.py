"""What begins with a slash: a command, or text that only looks like one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Command(NamedTuple):
    """What the prompt knows of a command."""

    name: str
    """Without the slash."""
    argument: str
    """What may follow, as users are shown it, such as `<name>`; empty if nothing may."""
    meaning: str


class Given(NamedTuple):
    """A command as it was typed."""

    name: str
    argument: str


def parse(text: str) -> Given | None:
    """The command that `text` gives; None if it is a prompt.

    Two slashes begin a prompt that begins with one, see `literal`.
    """
    if not text.startswith("/") or text.startswith("//"):
        return None
    name, *rest = text[1:].split(maxsplit=1) or [""]
    if text[1:2].isspace():
        return None
    return Given(name, rest[0].strip() if rest else "")


def literal(text: str) -> str:
    """`text` as a prompt: of two slashes at its beginning one is sent."""
    return text[1:] if text.startswith("//") else text


def unknown(name: str, names: Iterable[str]) -> str:
    """A sentence about a command that there is not."""
    shown = name if len(name) <= 24 else name[:23] + "…"
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    if near:
        return f"There is no command /{shown}; did you mean /{near[0]}?"
    return f"There is no command /{shown}. Begin with // to send it as text."
