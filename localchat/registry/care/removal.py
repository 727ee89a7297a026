"""Takes models away, and clears up what nothing refers to any more."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.files import blobs, locks
from localchat.registry.installed import Record

# What a killed process leaves that was about to give a file its name.
_LITTER = ("*.tmp", "*.link")
_OLD = 3600.0  # seconds after which such a file belongs to nobody


@dataclass(frozen=True, slots=True)
class Garbage:
    """Files that nothing refers to."""

    name: str
    """The digest they are called after, or the name of a single one."""
    size: int
    """Bytes on this disk."""
    kind: Literal["unfinished", "unused"]
    """unfinished: a download that did not come to its end. unused: a model of an earlier pin."""


def remove(record: Record, paths: Paths) -> int:
    """Removes a model; files that another one shares stay, and so does what was only linked to.

    Bytes that are free now. Raises LocalchatError if one of its files is being downloaded: then
    nothing is removed.
    """
    shared = _referenced(paths, but=record.name)
    own = [part.sha256 for part in record.all_parts if part.sha256 not in shared]
    with ExitStack() as stack:
        try:
            for sha256 in dict.fromkeys(own):
                stack.enter_context(locks.held(installed.location(sha256, paths)))
        except BlockingIOError as error:
            raise LocalchatError(
                f"{record.name} is being downloaded right now.", "end that download first (Ctrl-C)"
            ) from error
        # The record first: a model without files is missing, files without a model are garbage.
        installed.forget(record.name, paths)
        return sum(blobs.remove(sha256, paths) for sha256 in own)


def drop(digests: Iterable[str], paths: Paths) -> None:
    """Removes files that just came in and are not to be kept, unless a record refers to them."""
    used = _referenced(paths)
    for sha256 in digests:
        if sha256 not in used:
            with suppress(BlockingIOError), locks.held(installed.location(sha256, paths)):
                blobs.remove(sha256, paths)


def garbage(paths: Paths) -> list[Garbage]:
    """What `collect` would remove. What is being downloaded now is not garbage."""
    return list(_sweep(paths, is_dry=True))


def collect(paths: Paths) -> list[Garbage]:
    """Removes garbage, and says what it was."""
    return list(_sweep(paths, is_dry=False))


def _sweep(paths: Paths, *, is_dry: bool) -> Iterator[Garbage]:
    if not paths.models.is_dir():
        return
    # Files that have come in whole and are not recorded yet look like garbage; so while any come
    # in, only what is certain goes.
    with locks.quiet(paths.models) as is_quiet:
        used = _mentioned(paths) | _pinned(paths)
        for sha256, files in blobs.belongings(paths).items():
            target = installed.location(sha256, paths)
            is_spared = sha256 in used or not is_quiet
            found = [path for path in files if not is_spared or path.suffix in blobs.UNFINISHED]
            if not found:
                continue
            with suppress(BlockingIOError), locks.held(target):
                size = sum(map(blobs.size, found))
                if not is_dry:
                    for path in found:
                        blobs.discard(path)
                    if not is_spared:
                        blobs.discard(target.with_suffix(".lock"))
                if any(path.suffix != ".lock" for path in found):
                    is_whole = target in found
                    yield Garbage(sha256, size, "unused" if is_whole else "unfinished")
        for path in _litter(paths):
            size = blobs.size(path)
            if not is_dry:
                blobs.discard(path)
            yield Garbage(path.name, size, "unfinished")


def _litter(paths: Paths) -> list[Path]:
    before = time.time() - _OLD
    found = {path for pattern in _LITTER for path in paths.models.glob(pattern)}
    return sorted(path for path in found if path.lstat().st_mtime < before)


def _referenced(paths: Paths, but: str | None = None) -> set[str]:
    """Digests of all files that records refer to; of all but one."""
    records = (record for record in installed.records(paths) if record.name != but)
    return {part.sha256 for record in records for part in record.all_parts}


def _mentioned(paths: Paths) -> set[str]:
    """All digests in the lock file, also where it can't be made out, and in one set aside for that.

    A model must not be lost because a file about it is damaged.
    """
    lock = installed.lock_file(paths)
    found = set()
    for path in (lock, *lock.parent.glob(f"{lock.name}.damaged-*")):
        with suppress(FileNotFoundError):
            found |= set(re.findall("[0-9a-f]{64}", path.read_bytes().decode("latin-1")))
    return found


def _pinned(paths: Paths) -> set[str]:
    """Digests of the catalogue that are there whole: they are installed, if only by their name."""
    from localchat.registry.catalogue.catalog import load

    digests = {blob.sha256 for manifest in load() for blob in manifest.blobs if blob.sha256}
    return {sha256 for sha256 in digests if installed.location(sha256, paths).exists()}
