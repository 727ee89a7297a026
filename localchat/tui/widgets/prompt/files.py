"""The files below a folder that a user may want to show to a model."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

_MOST_ENTRIES = 5000
_MOST_SECONDS = 1.0

_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "env", "target", "build", "dist"}
)
"""Folders of what others made; hidden ones are skipped too."""

_BINARY = re.compile(
    r"""\.(7z|a|avi|bin|bmp|bz2|class|dat|db|deb|dll|docx?|dylib|eot|exe|flac|gguf|gif|gz|heic|ico
    |iso|jar|jpe?g|lib|m4a|mkv|mov|mp[34]|np[yz]|o|obj|od[pst]|ogg|onnx|otf|parquet|pdf|pkl|png
    |pptx?|psd|ptx?|pth|py[cd]|rar|rpm|safetensors|so|sqlite3?|tar|tgz|tiff?|ttf|wasm|wav|webm|webp
    |whl|woff2?|xlsx?|xz|zip|zst)$""",
    re.IGNORECASE | re.VERBOSE,
)


def scan(root: Path, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Paths relative to `root` of files that may be text, those of near folders first.

    Takes about a second at most, and looks at some thousands of entries: of a huge folder only
    a part is found. Links to folders are not followed.
    """
    found: list[str] = []
    folders = deque([""])
    left = _MOST_ENTRIES
    deadline = clock() + _MOST_SECONDS
    while folders and left > 0 and clock() < deadline:
        folder = folders.popleft()
        entries = _entries(root / folder, left)
        left -= len(entries)
        for entry in entries:
            name = entry.name
            if name.startswith(".") or not name.isprintable():
                continue
            path = f"{folder}{name}"
            if _is_folder(entry):
                if name not in _SKIPPED:
                    folders.append(f"{path}/")
            elif not _BINARY.search(name) and _is_file(entry):
                found.append(path)
    return found


def _entries(folder: Path, most: int) -> list[os.DirEntry[str]]:
    """So many entries by name; none of a folder that can't be read."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as listed:
            for entry in listed:
                found.append(entry)
                if len(found) == most:
                    break
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
