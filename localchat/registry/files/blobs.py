"""The files of the models folder, each named by the digest of its content.

A file is ours, or a link to one that lies elsewhere. What is put here has been hashed.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.files import chunks, verify
from localchat.registry.files.chunks import Hasher
from localchat.registry.files.partial import sync_folder
from localchat.registry.installed import Part

Way = Literal["link", "copy", "move"]

UNFINISHED = (".partial", ".resume", ".parts")
"""Ends of the names of what a download leaves that did not come to its end."""

_BLOCK = 2**20
# Another file system, one that knows no hard links, or another user's file.
_NO_HARD_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK}
_KINDS = (".gguf", ".chunks", *UNFINISHED, ".split", ".lock")


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was read to its end, and is in the models folder."""

    source: Path
    """Where it lay; a file to be moved still does, until `release`."""
    sha256: str
    is_new: bool
    """Whether it was put there; if not, a right file of our own was there already."""


def part(sha256: str, paths: Paths) -> Part:
    """The file with this digest, as it looks now. Raises OSError."""
    return Part(sha256, verify.stamp(installed.location(sha256, paths)))


def is_linked(sha256: str, paths: Paths) -> bool:
    """Whether the file lies elsewhere."""
    return installed.location(sha256, paths).is_symlink()


def take_in(
    path: Path, way: Way, paths: Paths, progress: Callable[[int, int], None], sha256: str | None
) -> Taken:
    """Hashes a file of this machine and puts it into the models folder.

    link: a link to where it lies. copy: a file of our own. move: it is ours after `release`, and
    nothing is lost before. A right file of our own stays; a damaged one is replaced. With `sha256`,
    only if that is the digest of `path`: else ValueError is raised. Raises OSError.
    """
    folder = make_private(paths.models)
    path = path.resolve(strict=True)
    if way == "copy":
        return _copy(path, folder, paths, progress, sha256)
    hasher = _hash(path, progress)
    found = hasher.sha256()
    if sha256 not in (None, found):
        raise ValueError(found)
    target = installed.location(found, paths)
    chunks.write(target, hasher.chunks())
    if _is_ours(found, path, paths):
        return Taken(path, found, is_new=False)
    if way == "link":
        link(found, path, paths)
    else:
        try:
            _place(target, lambda temporary: temporary.hardlink_to(path))
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
            _copy(path, folder, paths, progress, found)
    return Taken(path, found, is_new=True)


def release(taken: Taken, paths: Paths) -> None:
    """Ends a move: the file is at its new place only. Raises OSError."""
    target = installed.location(taken.sha256, paths)
    if target.is_symlink() or target.resolve(strict=True) == taken.source:
        return  # it is used where it lies
    target.chmod(0o444)  # engines map it: nobody may write into it
    taken.source.unlink()


def link(sha256: str, path: Path, paths: Paths) -> None:
    """Uses the file at `path`, which has this digest, where it lies. Raises OSError."""
    target = installed.location(sha256, paths)
    _place(target, lambda temporary: temporary.symlink_to(path.resolve()))


def lay_out(parts: tuple[Part, ...], paths: Paths) -> None:
    """Gives the files of a split model the names by which llama.cpp finds them. Raises OSError."""
    if len(parts) == 1:
        return
    folder = make_private(installed.split_folder(parts[0].sha256, paths))
    for number, each in enumerate(parts, 1):
        name = folder / installed.split_name(number, len(parts))
        goal = Path("..") / installed.location(each.sha256, paths).name
        # By rename: an engine may be about to open the name, another process may lay out the same.
        temporary = name.with_suffix(f".{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(goal)
        temporary.replace(name)


def remove(sha256: str, paths: Paths) -> int:
    """Removes all that belongs to this digest; of a link, the link. Bytes that are free now.

    Raises OSError.
    """
    freed = 0
    for kind in _KINDS:
        path = installed.location(sha256, paths).with_suffix(kind)
        freed += size(path)
        discard(path)
    return freed


def belongings(paths: Paths) -> dict[str, list[Path]]:
    """What is in the models folder, by the digest in its name."""
    found: dict[str, list[Path]] = {}
    if paths.models.is_dir():
        for path in sorted(paths.models.iterdir()):
            digest = path.name.partition(".")[0]
            if installed.is_digest(digest):
                found.setdefault(digest, []).append(path)
    return found


def size(path: Path) -> int:
    """Bytes on this disk that go with it; none for a link."""
    try:
        if path.is_symlink():
            return 0
        if path.is_dir():
            return sum(map(size, path.iterdir()))
        return path.stat().st_size
    except OSError:
        return 0


def discard(path: Path) -> None:
    """Removes a file, a link, or a folder with all that is in it. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_ours(sha256: str, path: Path, paths: Paths) -> bool:
    """Whether a right file of our own has the place of `path`, which has this digest."""
    target = installed.location(sha256, paths)
    if target.is_symlink() or not target.exists():
        return False
    return target.samefile(path) or verify.matches(target, path.stat().st_size, sha256)


def _place(target: Path, make: Callable[[Path], None]) -> None:
    """Puts what `make` makes in place of `target`, at once."""
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        make(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def _hash(path: Path, progress: Callable[[int, int], None]) -> Hasher:
    hasher = Hasher()
    total = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while data := file.read(_BLOCK):
            hasher.update(data)
            progress(hasher.size, total)
    return hasher


def _copy(
    path: Path, folder: Path, paths: Paths, progress: Callable[[int, int], None], sha256: str | None
) -> Taken:
    from tempfile import mkstemp

    if sha256 is not None and _is_ours(sha256, path, paths):
        return Taken(path, sha256, is_new=False)
    hasher = Hasher()
    total = path.stat().st_size
    descriptor, name = mkstemp(dir=folder, prefix="import.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as out, path.open("rb", buffering=0) as file:
            while data := file.read(_BLOCK):
                hasher.update(data)
                rest = memoryview(data)
                while len(rest):
                    rest = rest[out.write(rest) :]
                progress(hasher.size, total)
            found = hasher.sha256()
            if sha256 not in (None, found):
                raise ValueError(found)
            if _is_ours(found, path, paths):
                return Taken(path, found, is_new=False)
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        target = installed.location(found, paths)
        chunks.write(target, hasher.chunks())
        temporary.replace(target)
        sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
    return Taken(path, found, is_new=True)
