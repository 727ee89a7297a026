"""The files that hold snapshots: their format, their folder, the room they take, whose may stay.

A file is a head and a state. The head holds the tokens and the state's digest, and ends with a
digest of its own: which prompts a snapshot serves is known, and checked, without reading the state.

    magic, version, bytes of model, number of tokens, bytes of state, owner,
    key, digest of the state | model | tokens | digest of all that | state

Its name is made of its key and tokens, so each state has one place. The folder is its owner's
alone; what else is found under such a name was damaged or planted, or is of another version, and is
removed.

An engine may still hold a conversation that was deleted. Whose snapshots were removed stands in a
list, which is read before each writing, under the same lock: nothing of them comes back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import struct
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from localchat.paths import make_private

_MAGIC = b"LCSNAP\r\n"
_VERSION = 2
_HEAD = struct.Struct("<8sHHIQ16s32s32s")
_DIGEST = hashlib.sha256().digest_size
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.snapshot|[^/]+\.writing")

_MOST_BYTES = 2 * 10**9
_PART_OF_FREE_DISK = 0.05

NOBODY = bytes(16)
"""The owner of a prefix that many share."""
_FORGOTTEN = "forgotten"  # the list's file
_LINE = struct.Struct("<16sd")  # an owner, and when it was forgotten
# After so many seconds no engine has anything to write of what it held then: it does so after a
# quiet second.
_FORGOTTEN_FOR = 30 * 86400


class Damaged(Exception):
    """A file is not what its name says."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a snapshot is of."""

    key: bytes
    """Digest of all that a context must have in common with the one the state comes from."""
    model: str
    """The model's name, for people."""
    packed: bytes
    """The tokens whose state it is; see `pack`."""
    owner: bytes
    """Of which conversation it is, see `owner_of`; or `NOBODY`."""
    state_size: int
    """Bytes."""
    state_digest: bytes

    @property
    def is_conversation(self) -> bool:
        """Whether it is out of use once the conversation has a longer one."""
        return self.owner != NOBODY

    @property
    def name(self) -> str:
        """Of the file."""
        digest = hashlib.sha256(self.key + self.packed).hexdigest()
        return f"{name_prefix(self.key)}{digest[:32]}.snapshot"

    def encode(self) -> bytes:
        model = self.model.encode("utf-8", "replace")[:1024]
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            len(model),
            len(self.packed) // 4,
            self.state_size,
            self.owner,
            self.key,
            self.state_digest,
        )
        head += model + self.packed
        return head + hashlib.sha256(head).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder that bears a snapshot's name; what it holds was not looked at."""

    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was last written or read, seconds since the epoch."""


def owner_of(conversation: str | None) -> bytes:
    """How a conversation is named in its snapshots: who finds one learns nothing of the history."""
    if conversation is None:
        return NOBODY
    named = b"conversation\0" + conversation.encode("utf-8", "replace")
    return hashlib.sha256(named).digest()[: len(NOBODY)]


def name_prefix(key: bytes) -> str:
    """How the names of all snapshots with this key begin."""
    return f"{key.hex()[:16]}-"


def pack(tokens: list[int]) -> bytes:
    """Tokens as they are stored, and compared: four bytes each, the lowest first."""
    packed = array("i", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(packed: bytes) -> list[int]:
    tokens = array("i", packed)
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens.tolist()


def open_own(path: Path) -> BinaryIO:
    """Opens a regular file of this user's for reading; never follows a link, never waits.

    Raises Damaged if it is anything else, OSError if it is gone or can't be read.
    """
    if not _is_own(path.lstat()):
        raise Damaged
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags), "rb")
    if not _is_own(os.fstat(file.fileno())):  # replaced meanwhile
        file.close()
        raise Damaged
    return file


def _is_own(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()


def read_head(file: BinaryIO, name: str) -> Head:
    """The head of a snapshot of that name; `file` then stands at the state.

    Raises Damaged, OSError.
    """
    size = os.fstat(file.fileno()).st_size
    fixed = file.read(_HEAD.size)
    if len(fixed) < _HEAD.size:
        raise Damaged
    magic, version, model_size, num_tokens, state_size, owner, key, digest = _HEAD.unpack(fixed)
    variable = model_size + 4 * num_tokens
    if size != _HEAD.size + variable + _DIGEST + state_size:
        raise Damaged
    rest = file.read(variable)
    if file.read(_DIGEST) != hashlib.sha256(fixed + rest).digest():
        raise Damaged
    head = Head(
        key=key,
        model=rest[:model_size].decode("utf-8", "replace"),
        packed=rest[model_size:],
        owner=owner,
        state_size=state_size,
        state_digest=digest,
    )
    if (magic, version, head.name) != (_MAGIC, _VERSION, name):
        raise Damaged
    return head


def load_head(path: Path) -> Head | None:
    """The head of the snapshot at `path`; None if it is gone or damaged, and then removed."""
    try:
        with open_own(path) as file:
            return read_head(file, path.name)
    except Damaged:
        remove(path)
    except OSError:
        return None
    return None


def entries(folder: Path) -> list[Entry]:
    """Every file that bears a snapshot's name or is one being written; used longest ago first."""
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as files:
        for file in files:
            if _NAME.fullmatch(file.name):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    status = file.stat(follow_symlinks=False)
                    found.append(Entry(folder / file.name, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path.name))


def is_unfinished(path: Path) -> bool:
    """Whether the file is still being written, or was when its writer died."""
    return path.name.endswith(".writing")


def remove(path: Path) -> bool:
    """Removes a file or link; False if it can't be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def clear(folder: Path) -> list[Entry]:
    """Removes all snapshots, also while engines run; those that were removed."""
    return [entry for entry in entries(folder) if remove(entry.path)]


def forget(folder: Path, conversations: Iterable[str]) -> list[Entry]:
    """Removes the snapshots of these conversations; no engine writes one again. Those removed.

    Raises LocalchatError, OSError; then it may be called again.
    """
    owners = {owner_of(conversation) for conversation in conversations}
    if not owners:
        return []
    now = time.time()
    with writing(folder):
        _change_forgotten(folder, lambda known: known | dict.fromkeys(owners, now))
        removed = []
        for entry in entries(folder):
            if is_unfinished(entry.path):  # nobody else writes now: its writer died
                remove(entry.path)
            elif (head := load_head(entry.path)) and head.owner in owners:
                entry.path.unlink(missing_ok=True)
                removed.append(entry)
    return removed


def readmit(folder: Path, conversations: Iterable[str]) -> None:
    """Lets engines keep snapshots of these conversations: they are back. Raises the same."""
    owners = {owner_of(conversation) for conversation in conversations}
    if owners & forgotten(folder).keys():
        with writing(folder):
            _change_forgotten(
                folder, lambda known: {k: when for k, when in known.items() if k not in owners}
            )


def forgotten(folder: Path) -> dict[bytes, float]:
    """The owners whose snapshots were removed, and when. Raises OSError."""
    try:
        with open_own(folder / _FORGOTTEN) as file:
            data = file.read()
    except FileNotFoundError:
        return {}
    except Damaged:
        remove(folder / _FORGOTTEN)
        return {}
    return dict(_LINE.iter_unpack(data[: len(data) // _LINE.size * _LINE.size]))


def _change_forgotten(
    folder: Path, change: Callable[[dict[bytes, float]], dict[bytes, float]]
) -> None:
    """Writes the list anew, without what is long past; the caller holds the lock."""
    now = time.time()
    lines = [
        _LINE.pack(owner, when)
        for owner, when in change(forgotten(folder)).items()
        if abs(now - when) < _FORGOTTEN_FOR
    ]
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".writing")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(lines)
        # Not synced: when the machine stops, the engines it is for are gone.
        Path(temporary).replace(folder / _FORGOTTEN)
    except BaseException:
        remove(Path(temporary))
        raise


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """One process writes at a time: the budget is never exceeded, and unfinished files are strays.

    The lock goes with the process. Makes the folder. Raises OSError, LocalchatError.
    """
    path = make_private(folder) / "lock"
    with contextlib.suppress(FileNotFoundError):
        if not _is_own(path.lstat()):
            path.unlink()
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def default_budget(folder: Path) -> int:
    """Bytes that all snapshots together may take: 2 GB or 5% of the free disk, the smaller.

    What they take now counts as free, or the budget would shrink as it is used.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free + sum(entry.size for entry in entries(folder))
    return min(_MOST_BYTES, int(free * _PART_OF_FREE_DISK))
