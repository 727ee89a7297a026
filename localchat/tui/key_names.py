"""Keys as users know them."""

from __future__ import annotations

from textual.keys import format_key

_NAMES = {
    "enter": "Enter",
    "escape": "Esc",
    "tab": "Tab",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "space": "Space",
    "delete": "Del",
    "backspace": "Backspace",
}


def key_name(key: str) -> str:
    """Ctrl+J for `ctrl+j`, [ for `left_square_bracket`, Esc for `escape`."""
    *modifiers, last = key.split("+")
    name = _NAMES.get(last) or format_key(last)
    if modifiers or len(name) > 1:
        name = name[:1].upper() + name[1:]
    return "+".join([*(modifier.capitalize() for modifier in modifiers), name])
