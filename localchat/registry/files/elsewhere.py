"""Model files that other programs keep on this machine, under the name of their digest.

The Hugging Face cache and Ollama's store name their files by sha256, so one that is wanted is found
without looking into any. It is used where it lies: see `blobs.link`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from localchat.registry.files import verify


def find(sha256: str, size: int) -> Path | None:
    """A file of another program with exactly this content; it is hashed to make sure."""
    for path in _candidates(sha256):
        try:
            if verify.matches(path, size, sha256):
                return path.resolve()
        except OSError:  # another user's
            continue
    return None


def _candidates(sha256: str) -> Iterator[Path]:
    for folder in hub_caches():
        yield from folder.glob(f"models--*/blobs/{sha256}")
    for folder in _ollama_stores():
        yield folder / "blobs" / f"sha256-{sha256}"


def hub_caches() -> list[Path]:
    """Where the Hugging Face cache may be; the first that exists is in use."""
    environ = os.environ
    home = environ.get("HF_HOME") or Path(
        environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or Path(home, "hub")
    return [folder for folder in [_expanded(named)] if folder is not None and folder.is_dir()]


def _ollama_stores() -> list[Path]:
    named = os.environ.get("OLLAMA_MODELS")
    usual = ("~/.ollama/models", "/usr/share/ollama/.ollama/models")
    found = (_expanded(place) for place in ([named] if named else usual))
    return [folder for folder in found if folder is not None]


def _expanded(path: str | Path) -> Path | None:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no home
        return None
