"""Finds, reads and writes the states that conversations and common prefixes left on disk.

Several engine processes share the folder: files appear and vanish at any time. Threads may share a
store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import LocalchatError
from localchat.snapshot_files import (
    Damaged,
    Head,
    entries,
    forgotten,
    is_unfinished,
    load_head,
    name_prefix,
    open_own,
    owner_of,
    pack,
    read_head,
    remove,
    unpack,
    writing,
)

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state on disk, of which only the head was read."""

    head: Head
    name: str

    @property
    def tokens(self) -> list[int]:
        """The tokens whose state it is."""
        return unpack(self.head.packed)

    @property
    def size(self) -> int:
        """Bytes of the state."""
        return self.head.state_size


class SnapshotStore:
    """The snapshots that fit one kind of context."""

    def __init__(
        self,
        folder: Path,
        key: str,
        budget: int,
        *,
        model: str = "",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`key`, a sha256 in hexadecimal, stands for all that a context must have in common with
        the one a state comes from: model, llama.cpp build, options. `budget` counts the bytes of
        all files in the folder, also those with other keys; 0 is off. `model` names the model to
        people. `log` gets a line when a snapshot can't be kept.
        """
        self._folder = folder
        self._key = bytes.fromhex(key)
        assert len(self._key) == hashlib.sha256().digest_size
        self._budget = budget
        self._model = model
        self._log = log
        self._index: dict[str, Snapshot] = {}
        self._unreadable: set[str] = set()

    def find(self, tokens: list[int], *, whole: bool) -> Snapshot | None:
        """The snapshot with the longest prefix in common with `tokens`; the smallest of several.

        `whole`: only one all of whose tokens are a prefix, for memory that can't be cut. No state
        is read; whether it is intact shows in `read`.
        """
        packed = pack(tokens)
        best: Snapshot | None = None
        longest = 0
        for snapshot in self._refresh().values():
            other = snapshot.head.packed
            is_smaller = best is not None and snapshot.size < best.size
            # One comparison passes over all that can't be better.
            if other[:longest] != packed[:longest] or (whole and not packed.startswith(other)):
                continue
            common = _common_prefix(packed, other)
            if common > longest or (common == longest and is_smaller):
                best, longest = snapshot, common
        return best

    def read(self, snapshot: Snapshot) -> bytes | None:
        """The state; None if the file is gone or damaged, and then `find` forgets it."""
        path = self._folder / snapshot.name
        try:
            with open_own(path) as file:
                head = read_head(file, snapshot.name)
                state = file.read(head.state_size)
                if hashlib.sha256(state).digest() != head.state_digest:
                    raise Damaged
                os.utime(file.fileno())
                return state
        except Damaged:
            self._log(f"{path} is damaged")
            if remove(path):
                return None
        except FileNotFoundError:
            return None  # another process needed the room
        except OSError as error:
            self._log(f"{path} can't be read: {error.strerror}")
        self._unreadable.add(snapshot.name)
        return None

    def write(self, tokens: list[int], state: Buffer, *, conversation: str | None = None) -> None:
        """Keeps a state. Those used longest ago make room; what can't be kept is logged.

        Of a `conversation`, the snapshots that were left when it was shorter are removed; if it
        was deleted, nothing is written. Snapshots of none stay.
        """
        if not self._budget or not tokens:
            return
        digest = hashlib.sha256(state).digest()
        head = Head(
            self._key, self._model, pack(tokens), owner_of(conversation), len(state), digest
        )
        try:
            with writing(self._folder):
                self._write(head, state)
        except OSError as error:
            self._log(f"a snapshot of {len(tokens)} tokens can't be kept: {error.strerror}")
        except LocalchatError as error:
            self._log(f"a snapshot of {len(tokens)} tokens can't be kept: {error}")

    def _write(self, head: Head, state: Buffer) -> None:
        if head.is_conversation and head.owner in forgotten(self._folder):
            return
        present = load_head(self._folder / head.name)
        outdated = self._outdated(head) if head.is_conversation else set()
        if present and present.is_conversation <= head.is_conversation:
            os.utime(self._folder / head.name)
        else:
            encoded = head.encode()
            self._make_room(len(encoded) + len(state), outdated | {head.name})
            _write_file(self._folder, head.name, encoded, state)
            self._unreadable.discard(head.name)
        for name in outdated:
            remove(self._folder / name)

    def _outdated(self, head: Head) -> set[str]:
        """What the conversation left when it was shorter."""
        shorter = [
            name
            for name, snapshot in self._refresh().items()
            if len(snapshot.head.packed) < len(head.packed)
            and head.packed.startswith(snapshot.head.packed)
        ]
        # Read again: it may have become a shared prefix since.
        heads = [load_head(self._folder / name) for name in shorter]
        return {found.name for found in heads if found and found.is_conversation}

    def _make_room(self, size: int, outdated: set[str]) -> None:
        """Removes unfinished files, and whole ones until `size` more bytes are in the budget.

        An outdated one goes first, but stays until its successor is there if both have room.
        Raises OSError if there is no room to make.
        """
        found = entries(self._folder)
        found.sort(key=lambda entry: entry.path.name not in outdated)
        found.sort(key=lambda entry: not is_unfinished(entry.path))
        taken = sum(entry.size for entry in found)
        if size > self._budget:
            raise OSError(errno.EFBIG, "it is larger than all snapshots together may be")
        for entry in found:
            has_room = taken + size <= self._budget
            if has_room and not is_unfinished(entry.path):
                return
            if remove(entry.path):
                taken -= entry.size
        if taken + size > self._budget:
            raise OSError(errno.ENOSPC, "the others can't be removed")

    def _refresh(self) -> dict[str, Snapshot]:
        """What the folder holds of this key now; only heads not seen before are read."""
        if not self._budget:
            return {}
        prefix = name_prefix(self._key)
        known, index = self._index, {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as files:
            names = [file.name for file in files if file.name.startswith(prefix)]
            for name in set(names) - self._unreadable:
                snapshot = known.get(name) or self._look_at(name)
                if snapshot is not None:
                    index[name] = snapshot
        # Replaced, never changed: another thread may be going through the old one.
        self._index = index
        return index

    def _look_at(self, name: str) -> Snapshot | None:
        head = load_head(self._folder / name)
        return None if head is None else Snapshot(head, name)


def _common_prefix(left: bytes, right: bytes) -> int:
    """Bytes of whole tokens that both begin with."""
    low, high = 0, min(len(left), len(right)) // 4
    while low < high:
        middle = (low + high + 1) // 2
        if left[4 * low : 4 * middle] == right[4 * low : 4 * middle]:
            low = middle
        else:
            high = middle - 1
    return 4 * low


def _write_file(folder: Path, name: str, head: bytes, state: Buffer) -> None:
    """The file is whole once it has its name, even after a loss of power. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".writing")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head)
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(folder / name)
    except BaseException:
        remove(Path(temporary))
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
