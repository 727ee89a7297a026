"""The lock file: what is installed under which name, with the digest of each file.

It pins. A name stays what it was when it was pulled until it is pulled again, whatever the
catalogue of a newer localchat or the hub say by then; the digest of a file that came without one
is here and nowhere else. And it is fast: it remembers how a verified file looked (`Stamp`), so
that a warm start neither hashes nor parses TOML.

On the path of every warm command: the standard library only, never pydantic.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from localchat import __version__
from localchat.paths import Paths, make_private
from localchat.registry.files.verify import Stamp, stamp
from localchat.types import ModelRef, SamplingParams

Origin = Literal["catalogue", "hub", "url", "import"]

_FORMAT = 1
_HEX = set("0123456789abcdef")
_DEFAULTS = SamplingParams()


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an installed model."""

    sha256: str
    stamp: Stamp
    """How the file looked when its content was last verified."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size


@dataclass(frozen=True, slots=True)
class Record:
    """One installed model."""

    name: str
    """What to type: the shortest of `keys`."""
    keys: tuple[str, ...]
    """Every name that means it, in lower case."""
    parts: tuple[Part, ...]
    """The files of the weights, in their order."""
    projector: Part | None = None
    quantization: str = "?"
    origin: Origin = "catalogue"
    """Where its name comes from."""
    sources: dict[str, list[dict[str, Any]]] | None = None
    """Where each file (by digest) can be had again, as a manifest would say it. None: ask the
    catalogue, or nobody."""
    served: str | None = None
    """The source that the weights came from."""
    is_pinned: bool = True
    """Whether the digests come from the catalogue or the user, not from the hub's own word."""
    when: str = ""
    """When it was installed: YYYY-MM-DD."""
    licence: str | None = None
    chat_template: str | None = None
    """In place of the one inside the file."""
    template_sha256: str | None = None
    """Of the template inside the file, when it was installed."""
    sampling: tuple[tuple[str, float | int], ...] = ()
    version: str = __version__
    """The localchat whose catalogue the last two were taken from."""

    @property
    def all_parts(self) -> tuple[Part, ...]:
        return (*self.parts, *([self.projector] if self.projector else []))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.all_parts)

    @property
    def sha256(self) -> str:
        """What the model is: the digest of its file; of several, the digest of their digests."""
        if len(self.parts) == 1:
            return self.parts[0].sha256
        return hashlib.sha256("".join(part.sha256 for part in self.parts).encode()).hexdigest()

    def path(self, paths: Paths) -> Path:
        """The file to load."""
        first = self.parts[0].sha256
        if len(self.parts) == 1:
            return location(first, paths)
        return split_folder(first, paths) / split_name(1, len(self.parts))

    def is_untouched(self, paths: Paths) -> bool:
        """Whether all files look as they did when they were verified, and can be loaded."""
        try:
            same = all(stamp(location(p.sha256, paths)) == p.stamp for p in self.all_parts)
        except OSError:
            return False
        return same and (len(self.parts) == 1 or self._is_laid_out(paths))

    def _is_laid_out(self, paths: Paths) -> bool:
        folder, count = split_folder(self.parts[0].sha256, paths), len(self.parts)
        return all((folder / split_name(number, count)).exists() for number in range(1, count + 1))

    def model(self, paths: Paths) -> ModelRef:
        """What an engine is told."""
        return ModelRef(
            name=self.name,
            path=str(self.path(paths)),
            sha256=self.sha256,
            chat_template=self.chat_template,
            sampling=self.sampling,
        )


def location(sha256: str, paths: Paths) -> Path:
    """Where the file with this digest is kept. Named by content: no name from outside is used."""
    assert is_digest(sha256)
    return paths.models / f"{sha256}.gguf"


def split_folder(sha256: str, paths: Paths) -> Path:
    """Where the parts of a split model, of which this is the first, lie under llama.cpp's names."""
    assert is_digest(sha256)
    return paths.models / f"{sha256}.split"


def split_name(number: int, count: int) -> str:
    """llama.cpp finds the further files of a split model by the name of the first."""
    return f"model-{number:05}-of-{count:05}.gguf"


def is_digest(text: object) -> bool:
    """Whether this is a sha256, in lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and _HEX.issuperset(text)


def lookup(name: str, paths: Paths) -> ModelRef | None:
    """The model that is installed as `name` (any case), if its files are untouched since.

    None for everything else: no record, one by another localchat (its catalogue may say
    otherwise), a lock file that can't be read, a file that is gone or has changed. Never raises.
    """
    record = find(name, paths)
    if record is None or record.version != __version__ or not record.is_untouched(paths):
        return None
    return record.model(paths)


def find(name: str, paths: Paths) -> Record | None:
    """What is recorded under `name` (any case) or its alias, whether or not its files are there."""
    found = _read(paths)
    wanted = name.lower()
    wanted = str(found["aliases"].get(wanted, wanted)).lower()
    for each in found["models"].values():
        if wanted in _keys(each):
            return _parse(each)
    return None


def records(paths: Paths) -> list[Record]:
    """All that is installed, by name."""
    found = [_parse(each) for each in _read(paths)["models"].values()]
    return sorted((each for each in found if each is not None), key=lambda each: each.name)


def aliases(paths: Paths) -> dict[str, str]:
    """The user's own names: what each stands for."""
    return {str(key): str(value) for key, value in _read(paths)["aliases"].items()}


def record(model: Record, paths: Paths) -> None:
    """Keeps what is installed; its keys mean nothing else from now on. Raises OSError."""
    with _changing(paths) as found:
        for name, other in list(found["models"].items()):
            if name == model.name:
                continue
            if kept := [key for key in _keys(other) if key not in model.keys]:
                other["keys"] = kept
            else:
                del found["models"][name]
        found["models"][model.name] = asdict(model)


def forget(name: str, paths: Paths) -> None:
    """Drops the record of that name, and the aliases for it. Raises OSError."""
    with _changing(paths) as found:
        keys = _keys(found["models"].pop(name, None))
        found["aliases"] = {
            alias: target
            for alias, target in found["aliases"].items()
            if str(target).lower() not in keys
        }


def set_alias(alias: str, target: str | None, paths: Paths) -> None:
    """Makes `alias` stand for `target`; None: for nothing. Raises OSError."""
    with _changing(paths) as found:
        found["aliases"].pop(alias.lower(), None)
        if target is not None:
            found["aliases"][alias.lower()] = target


def lock_file(paths: Paths) -> Path:
    return paths.models / "lock.json"


def _read(paths: Paths) -> dict[str, Any]:
    """What the lock file holds; an empty one where it is missing or can't be made out."""
    return _load(paths) or {"format": _FORMAT, "models": {}, "aliases": {}}


def _load(paths: Paths) -> dict[str, Any] | None:
    try:
        # Not blocking, or a FIFO in its place would hang every command.
        descriptor = os.open(lock_file(paths), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = json.load(file)
        whole = found["format"] == _FORMAT
        whole &= isinstance(found["models"], dict) and isinstance(found["aliases"], dict)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if whole else None


@contextlib.contextmanager
def _changing(paths: Paths) -> Iterator[dict[str, Any]]:
    """What the lock file holds, written back at the end; one process at a time."""
    folder = make_private(paths.models)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    lock = os.open(folder / "lock.json.lock", flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _load(paths)
        if found is None and lock_file(paths).is_file():
            # It holds pins that someone may still want to read.
            lock_file(paths).replace(folder / f"lock.json.damaged-{time.time():.0f}")
        found = found or _read(paths)
        yield found
        _write(found, paths)
    finally:
        os.close(lock)


def _write(found: dict[str, Any], paths: Paths) -> None:
    # On the rare path only; it also makes the file readable by its owner alone.
    from tempfile import mkstemp

    descriptor, name = mkstemp(dir=paths.models, prefix="lock.json.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(lock_file(paths))
    finally:
        temporary.unlink(missing_ok=True)


def _parse(found: Any) -> Record | None:
    """A record out of the lock file, which may hold any JSON; None for anything odd."""
    try:
        return Record(
            name=_text(found["name"]),
            keys=tuple(map(_text, _keys(found))) or _fail("no names"),
            parts=tuple(map(_part, found["parts"])) or _fail("no files"),
            projector=None if found["projector"] is None else _part(found["projector"]),
            quantization=_text(found["quantization"]),
            origin=_origin(found["origin"]),
            sources=_sources(found["sources"]),
            served=_optional_text(found["served"]),
            is_pinned=bool(found["is_pinned"]),
            when=_text(found["when"]),
            licence=_optional_text(found["licence"]),
            chat_template=_optional_text(found["chat_template"]),
            template_sha256=_optional_text(found["template_sha256"]),
            sampling=_sampling(found["sampling"]),
            version=_text(found["version"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _keys(found: Any) -> list[Any]:
    """The names that an entry of the lock file is for; none if it is not one."""
    keys = found.get("keys") if isinstance(found, dict) else None
    return keys if isinstance(keys, list) else []


def _part(found: Any) -> Part:
    if not is_digest(found["sha256"]):
        _fail("not a digest")
    size, mtime_ns, inode = found["stamp"]
    if not all(type(number) is int for number in (size, mtime_ns, inode)):
        _fail("not a stamp")
    return Part(found["sha256"], Stamp(size, mtime_ns, inode))


def _text(value: object) -> str:
    return value if isinstance(value, str) else _fail("not a text")


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _origin(value: object) -> Any:
    return value if value in get_args(Origin) else _fail("no origin")


def _sources(value: Any) -> dict[str, list[dict[str, Any]]] | None:
    if value is None:
        return None
    whole = all(isinstance(each, list) for each in value.values())
    if not whole or not all(isinstance(source, dict) for each in value.values() for source in each):
        _fail("no sources")
    return dict(value)


def _sampling(value: object) -> tuple[tuple[str, float | int], ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    pairs = []
    for key, number in value:
        expected = type(getattr(_DEFAULTS, key, None))
        if expected not in (int, float) or type(number) not in (int, expected):
            raise TypeError("not a sampling default")
        if not math.isfinite(number):
            raise ValueError("not a number the sampler can use")
        pairs.append((key, number))
    return tuple(pairs)


def _fail(reason: str) -> Any:
    raise ValueError(reason)
