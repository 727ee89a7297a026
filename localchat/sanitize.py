"""Makes text from outside (a model, a file name, an error) harmless for a terminal.

Control characters can move the cursor, write the clipboard or reorder what is shown. They are
dropped one by one, so cutting the text into chunks anywhere gives the same result.
"""

from __future__ import annotations

_KEPT = {0x09, 0x0A}
_FORBIDDEN = [
    *(code for code in range(0x20) if code not in _KEPT),  # C0
    *range(0x7F, 0xA0),  # DEL and C1
    *range(0x202A, 0x202F),  # bidirectional embeddings and overrides
    *range(0x2066, 0x206A),  # bidirectional isolates
    *range(0xD800, 0xE000),  # lone surrogates: no terminal encoding can carry them
]
_DROP = dict.fromkeys(_FORBIDDEN)
_ESCAPE = {code: f"\\u{code:04x}" for code in _FORBIDDEN}


def clean(text: str) -> str:
    """`text` without C0 and C1 control characters (newline and tab stay) and bidi overrides."""
    return text.translate(_DROP)


def escape(text: str) -> str:
    """Like `clean`, but shows each dropped character as `\\uXXXX`: for logs and for JSON."""
    return text.translate(_ESCAPE)
