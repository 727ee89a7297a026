"""Takes models away, and clears up what nothing refers to any more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.registry import blobs, installed, locks
from localchat.registry.installed import Record

_LITTER = ("import.*.tmp", "lock.json.*.tmp", "*.link", "*.chunks.tmp", "*.resume.tmp")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Files that nothing refers to: what a pull left unfinished, and models of earlier pins."""

    sha256: str
    size: int
    """Bytes on this disk."""
    is_partial: bool
    """Whether it is a download that did not come to its end."""


def remove(record: Record, paths: Paths) -> int:
    """Removes a model; files that another one shares stay, and so does what was only linked to.

    Bytes that are free now. Raises LocalchatError if one of its files is being downloaded.
    """
    shared = {
        part.sha256
        for other in installed.records(paths)
        if other.name != record.name
        for part in other.all_parts
    }
    own = [part.sha256 for part in record.all_parts if part.sha256 not in shared]
    # The record first: a model without files is missing, files without a model are garbage.
    installed.forget(record.name, paths)
    return sum(_remove(sha256, record.name, paths) for sha256 in own)


def garbage(paths: Paths) -> list[Garbage]:
    """What `collect` would remove. What is being downloaded now is not garbage."""
    used = {part.sha256 for record in installed.records(paths) for part in record.all_parts}
    found = []
    for sha256, size in blobs.strays(used | _pinned(paths), paths):
        target = installed.location(sha256, paths)
        if size or target.is_symlink():
            with suppress(BlockingIOError), locks.held(target):
                found.append(Garbage(sha256, size, not target.exists()))
    return found


def collect(paths: Paths) -> list[Garbage]:
    """Removes garbage, and says what it was."""
    found = garbage(paths)
    for each in found:
        _remove(each.sha256, each.sha256[:12], paths)
    for pattern in _LITTER:
        for path in paths.models.glob(pattern):
            path.unlink(missing_ok=True)
    return found


def _pinned(paths: Paths) -> set[str]:
    """Digests of the catalogue that are there whole: they are installed, if only by their name."""
    from localchat.registry.catalog import load

    digests = {blob.sha256 for manifest in load() for blob in manifest.blobs if blob.sha256}
    return {sha256 for sha256 in digests if installed.location(sha256, paths).exists()}


def _remove(sha256: str, name: str, paths: Paths) -> int:
    try:
        with locks.held(installed.location(sha256, paths)):
            return blobs.remove(sha256, paths)
    except BlockingIOError as error:
        raise LocalchatError(
            f"{name} is being downloaded right now.", "end that download first (Ctrl-C)"
        ) from error
