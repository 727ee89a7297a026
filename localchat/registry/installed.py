"""Remembers which model files were verified, so that a warm start neither hashes nor parses TOML.

On the path of every warm command: the standard library only, never pydantic. The index speeds
things up and decides nothing: a record that is missing or odd costs one re-hash (`resolve`).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localchat import __version__
from localchat.paths import Paths
from localchat.registry.verify import Stamp, stamp
from localchat.types import ModelRef, SamplingParams

_HEX = set("0123456789abcdef")
_DEFAULTS = SamplingParams()


def location(sha256: str, paths: Paths) -> Path:
    """Where the file with this digest is kept. Named by content: no name from outside is used."""
    assert len(sha256) == 64
    assert _HEX.issuperset(sha256)
    return paths.models / f"{sha256}.gguf"


def lookup(name: str, paths: Paths) -> ModelRef | None:
    """The model that was recorded under `name` (any case), if its file is untouched since.

    None for everything else: no record, one by another localchat (its catalogue may say
    otherwise), an index that can't be read, a file that is gone or has changed. Never raises.
    """
    try:
        record = _read(paths)[name.lower()]
        if record["version"] != __version__:
            return None
        found = ModelRef(
            name=_text(record["name"]),
            path=str(location(_digest(record["sha256"]), paths)),
            sha256=record["sha256"],
            chat_template=_optional_text(record["chat_template"]),
            sampling=_sampling(record["sampling"]),
        )
        recorded = (record["size"], record["mtime_ns"], record["inode"])
        return found if stamp(Path(found.path)) == recorded else None
    # The index is a file: it may hold any JSON, of any depth, or none.
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def record(model: ModelRef, keys: Iterable[str], seen: Stamp, paths: Paths) -> None:
    """Remembers that `model`'s file was verified when its stamp was `seen`, under all `keys`.

    Two processes that record at the same instant may lose one record, which costs one re-hash.
    """
    entry = {
        "name": model.name,
        "sha256": model.sha256,
        **seen._asdict(),
        "chat_template": model.chat_template,
        "sampling": dict(model.sampling),
        "version": __version__,
    }
    # A models folder that can't be written to, or a full disk, must not stop a chat.
    with contextlib.suppress(OSError):
        _write(_read_or_empty(paths) | dict.fromkeys(keys, entry), paths)


def _index(paths: Paths) -> Path:
    return paths.models / "installed.json"


def _read(paths: Paths) -> dict[str, Any]:
    # Not blocking, or a FIFO in its place would hang every command.
    descriptor = os.open(_index(paths), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = json.load(file)
    if not isinstance(found, dict):
        raise TypeError("the index is not an object")
    return found


def _read_or_empty(paths: Paths) -> dict[str, Any]:
    try:
        return _read(paths)
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _write(records: dict[str, Any], paths: Paths) -> None:
    # On the rare path only; it also makes the file readable by its owner alone.
    from tempfile import mkstemp

    descriptor, name = mkstemp(dir=paths.models, prefix="installed.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(records, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(_index(paths))
    finally:
        temporary.unlink(missing_ok=True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _digest(value: object) -> str:
    text = _text(value)
    if len(text) != 64 or not _HEX.issuperset(text):
        raise ValueError("not a digest")
    return text


def _sampling(value: object) -> tuple[tuple[str, float | int], ...]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    for key, number in value.items():
        expected = type(getattr(_DEFAULTS, key, None))
        if expected not in (int, float) or type(number) not in (int, expected):
            raise TypeError("not a sampling default")
        if not math.isfinite(number):
            raise ValueError("not a number the sampler can use")
    return tuple(value.items())
