"""The line of hints in the prompt's frame: as many as there is room for, with the keys in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.cells import cell_len

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


def hint_line(hints: Iterable[tuple[str, str]], keys: Mapping[str, str], cells: int) -> str:
    """`hints` are (binding id or sign to type, what it does), the most needed first.

    Those whose binding has no key are left out, and those for which there is no room.
    """
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
