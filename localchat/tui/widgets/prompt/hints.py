"""The line of hints in the prompt's frame, with the keys in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.cells import cell_len

Hints = tuple[tuple[str, str], ...]
"""(Id of a binding or what to type, what it does), the most needed first."""

EMPTY: Hints = (
    ("prompt.send", "sends"),
    ("prompt.newline", "new line"),
    ("/", "commands"),
    ("@", "files"),
)
WRITING: Hints = (
    ("prompt.send", "sends"),
    ("prompt.newline", "new line"),
    ("prompt.editor", "editor"),
)
FOLDED: Hints = (
    ("prompt.send", "sends"),
    ("prompt.unfold", "shows the pasted text"),
    ("prompt.editor", "editor"),
)
CHOOSING: Hints = (
    ("prompt.complete", "completes"),
    ("Up/Down", "chooses"),
    ("prompt.close", "closes"),
)
BUSY: Hints = (("Esc", "stops the reply"), ("prompt.newline", "new line"))

_BETWEEN = " · "
_NAMES = {"enter": "Enter", "escape": "Esc", "tab": "Tab", "up": "Up", "down": "Down"}


def key_name(key: str) -> str:
    """A key as users know it: `ctrl+j` is Ctrl+J."""
    *modifiers, last = key.split("+")
    return "+".join([*(part.capitalize() for part in modifiers), _NAMES.get(last, last.upper())])


def keys_by_id(bound: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """The name of one key for each binding id, of (key, id) pairs.

    A key with Ctrl is preferred: terminals can't tell Shift+Enter and Alt+Enter from Enter.
    """
    found: dict[str, str] = {}
    for key, binding_id in bound:
        if binding_id and (binding_id not in found or key.startswith("ctrl+")):
            found[binding_id] = key_name(key)
    return found


def fitting(hints: Hints, keys: Mapping[str, str], cells: int) -> str:
    """As many of the hints as there is room for, without those whose binding has no key."""
    line = ""
    for sign, meaning in hints:
        name = keys.get(sign) if "." in sign else sign
        if name is None:
            continue
        longer = f"{line}{_BETWEEN if line else ''}{name} {meaning}"
        if cell_len(longer) > cells:
            break
        line = longer
    return line
