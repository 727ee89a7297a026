"""The files of the models folder, each named by the digest of its content.

A file is ours, or a link to one that lies elsewhere. What is put here has been hashed.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.paths import Paths, make_private
from localchat.registry import chunks, installed, verify
from localchat.registry.chunks import Hasher
from localchat.registry.installed import Part
from localchat.registry.partial import sync_folder

Way = Literal["link", "copy", "move"]

_BLOCK = 2**20
_KINDS = (".gguf", ".chunks", ".partial", ".resume", ".split", ".parts", ".lock")


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was read to its end."""

    path: Path
    sha256: str
    size: int
    """Bytes."""


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

    link: a link to where it lies. copy: a file of our own. move: it is ours from now on.
    A right file of our own stays; a damaged one is replaced. With `sha256`, only if that is the
    digest of `path`: else ValueError is raised. Raises OSError.
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
    is_itself = target.exists() and target.samefile(path)
    if not target.is_symlink() and (is_itself or verify.matches(target, hasher.size, found)):
        if way == "move" and not is_itself:
            path.unlink()
    elif way == "link":
        link(found, path, paths)
    else:
        _move(path, folder, paths, progress, found)
    return Taken(target, found, hasher.size)


def link(sha256: str, path: Path, paths: Paths) -> None:
    """Uses the file at `path`, which has this digest, where it lies. Raises OSError."""
    target = installed.location(sha256, paths)
    temporary = target.with_suffix(".link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.resolve())
    temporary.replace(target)
    sync_folder(target.parent)


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
        freed += _size(path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return freed


def strays(used: set[str], paths: Paths) -> Iterator[tuple[str, int]]:
    """Digests in the models folder that are not `used`, with the bytes they take."""
    sizes: dict[str, int] = {}
    if not paths.models.is_dir():
        return
    for path in paths.models.iterdir():
        digest = path.name.partition(".")[0]
        if installed.is_digest(digest) and digest not in used:
            sizes[digest] = sizes.get(digest, 0) + _size(path)
    yield from sorted(sizes.items())


def _hash(path: Path, progress: Callable[[int, int], None]) -> Hasher:
    hasher = Hasher()
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while data := file.read(_BLOCK):
            hasher.update(data)
            progress(hasher.size, size)
    return hasher


def _copy(
    path: Path, folder: Path, paths: Paths, progress: Callable[[int, int], None], sha256: str | None
) -> Taken:
    from tempfile import mkstemp

    hasher = Hasher()
    size = path.stat().st_size
    descriptor, name = mkstemp(dir=folder, prefix="import.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as out, path.open("rb", buffering=0) as file:
            while data := file.read(_BLOCK):
                hasher.update(data)
                rest = memoryview(data)
                while len(rest):
                    rest = rest[out.write(rest) :]
                progress(hasher.size, size)
            found = hasher.sha256()
            if sha256 not in (None, found):
                raise ValueError(found)
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        target = installed.location(found, paths)
        chunks.write(target, hasher.chunks())
        temporary.replace(target)
        sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)
    return Taken(target, found, hasher.size)


def _move(
    path: Path, folder: Path, paths: Paths, progress: Callable[[int, int], None], sha256: str
) -> None:
    path.chmod(0o444)
    try:
        path.replace(installed.location(sha256, paths))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(path, folder, paths, progress, sha256)
        path.unlink()
    sync_folder(folder)


def _size(path: Path) -> int:
    """Bytes on this disk; none for a link."""
    try:
        if path.is_symlink() or path.is_dir():
            return 0
        return path.stat().st_size
    except OSError:
        return 0
