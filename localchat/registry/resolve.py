"""From what the user typed to a model file that is there and verified.

Warm commands end in `installed.lookup`; the catalogue, and with it pydantic (0.05-0.2 s), is
imported only where that has no answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localchat.errors import (
    LocalchatError,
    ModelLoadFailed,
    ModelNotFound,
    NetworkNeeded,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import installed, verify
from localchat.types import ModelRef

if TYPE_CHECKING:
    from localchat.registry.catalog import Entry


@dataclass(frozen=True, slots=True)
class Row:
    """One model file of the catalogue, for a list."""

    name: str
    """What to type to get this file."""
    aliases: tuple[str, ...]
    family: str
    parameters: int
    context_length: int
    """Tokens."""
    quantization: str
    size: int
    """Bytes."""
    licence: str
    installed: bool
    """A file of the right size is there; its content is checked when it is used."""
    path: Path | None
    """Where it is, if it is installed."""


def resolve(name: str, paths: Paths) -> ModelRef:
    """The model for a catalogue name or for a path to a GGUF file. Never uses the network.

    What contains a separator or ends in .gguf is a path. The result's name is the path as
    given, or the catalogue's own name for the file.

    Raises ModelNotFound (unknown, or known but not installed), VerificationFailed (the
    installed file has been changed) or ModelLoadFailed (the path is not a GGUF file).
    """
    if os.sep in name or name.lower().endswith(".gguf"):
        return _from_path(name)
    if found := installed.lookup(name, paths):
        return found
    entry = _find(name)
    if found := _check(entry, paths):
        return found
    raise ModelNotFound(f"The model {entry.name} is not installed.", f"localchat pull {entry.name}")


def pull(
    name: str, paths: Paths, *, offline: bool, progress: Callable[[int, int], None]
) -> ModelRef:
    """Installs a model of the catalogue, or replaces its damaged file; then as `resolve`.

    A file that is there is hashed, whatever its stamp says: this is also the way to repair one
    and to take over a changed manifest. Only if it is not the right one is a new one fetched.
    `progress` gets (done, total) in bytes of the model file.

    Raises ModelNotFound (not in the catalogue), NetworkNeeded (also: a fetch is needed and
    `offline` forbids it), VerificationFailed (the source sent something else) or OutOfSpace.
    """
    entry = _find(name)
    try:
        if found := _check(entry, paths):
            return found
    except VerificationFailed:
        pass  # replaced below; until then the damaged file stays
    if offline:
        raise NetworkNeeded(
            f"The model {entry.name} has to be downloaded, and localchat is offline.",
            f"localchat pull {entry.name} (with offline mode off)",
        )
    from localchat.registry import download

    try:
        path = download.fetch(entry.file, paths, progress)
    except LocalchatError as error:
        error.hint = error.hint or f"localchat pull {entry.name}"
        raise
    return _remember(entry, verify.stamp(path), paths)


def listing(paths: Paths) -> tuple[Row, ...]:
    """Every file of the catalogue, installed or not. Hashes nothing."""
    from localchat.registry import catalog

    return tuple(_row(entry, paths) for entry in catalog.entries())


def _find(name: str) -> Entry:
    from localchat.registry import catalog

    return catalog.find(name)


def _check(entry: Entry, paths: Paths) -> ModelRef | None:
    """The model, after hashing its file; None if there is none."""
    path = installed.location(entry.file.sha256, paths)
    try:
        seen = verify.stamp(path)
        if verify.matches(path, entry.file.size, entry.file.sha256):
            return _remember(entry, seen, paths)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelLoadFailed(
            f"{path} can't be read: {error.strerror}.", f"chmod u+r {path}"
        ) from error
    raise VerificationFailed(
        f"The file of the model {entry.name} has changed since it was installed.",
        f"localchat pull {entry.name}",
    )


def _remember(entry: Entry, seen: verify.Stamp, paths: Paths) -> ModelRef:
    model = ModelRef(
        name=entry.name,
        path=str(installed.location(entry.file.sha256, paths)),
        sha256=entry.file.sha256,
        chat_template=entry.manifest.chat_template,
        sampling=entry.manifest.sampling.pairs(),
    )
    installed.record(model, entry.keys, seen, paths)
    return model


def _from_path(given: str) -> ModelRef:
    try:
        path = Path(given).expanduser().resolve(strict=True)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _not_a_model(given, "is a folder")
        # Asked before opening: a FIFO would wait for a writer.
        if not stat.S_ISREG(mode):
            raise _not_a_model(given, "is not a regular file")
        with path.open("rb") as file:
            magic = file.read(4)
    # RuntimeError: a loop of links, or ~ without a home. ValueError: a NUL.
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError) as error:
        raise ModelNotFound(f"There is no file {given!r}.", "localchat models list") from error
    except OSError as error:
        raise _not_a_model(given, f"can't be read ({error.strerror})") from error
    if magic != b"GGUF":
        raise _not_a_model(given, "is not a GGUF file" if magic else "is empty")
    return ModelRef(name=given, path=str(path))


def _not_a_model(given: str, why: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"{given!r} {why}: it can't be loaded.", "localchat models list")


def _row(entry: Entry, paths: Paths) -> Row:
    path = installed.location(entry.file.sha256, paths)
    there = path.is_file() and path.stat().st_size == entry.file.size
    manifest = entry.manifest
    return Row(
        name=entry.name,
        aliases=manifest.aliases,
        family=manifest.family,
        parameters=manifest.parameters,
        context_length=manifest.context_length,
        quantization=entry.file.quantization,
        size=entry.file.size,
        licence=manifest.licence,
        installed=there,
        path=path if there else None,
    )
