"""Files in a message: read as text, each with its name and between fences longer than any in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from localchat.errors import InputError

_FENCE = re.compile(r"`{3,}")
_MIB = 1 << 20


def read_file(path: Path, at_most: int | None = None) -> str:
    """The text of a file, or of a pipe that a shell made.

    `at_most`: bytes that are read; then pipes, which may never end, are refused too. Raises
    InputError.
    """
    try:
        if at_most is not None:
            _check(path, at_most)
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error


def decode(data: bytes, origin: str) -> str:
    """`data` as text. Raises InputError, whose sentence begins with `origin`."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{origin} is not UTF-8 text: byte {error.start:,} is 0x{data[error.start]:02x}.",
            "Convert it first, for example: iconv -f latin1 -t utf-8",
        ) from error


def fenced(name: str, text: str) -> str:
    """`text` under its name, as it stands in a message."""
    longest = max((len(match) for match in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{name}:\n{fence}\n{text.removesuffix(chr(10))}\n{fence}"


def together(parts: Iterable[str]) -> str:
    """One message of its parts: a blank line between them, none for empty ones."""
    return "\n\n".join(part for part in parts if part)


def _check(path: Path, at_most: int) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder.")
    if not path.is_file() and path.exists():
        raise InputError(f"{path} is not a file.")
    size = path.stat().st_size
    if size > at_most:
        raise InputError(
            f"{path} is too large: it has {size / _MIB:,.1f} MiB, and {at_most / _MIB:g} MiB is "
            "the most."
        )
