"""What the screen remembers from one run to the next: how it looked, and what was not sent yet."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from localchat.paths import make_private

_FILE = "screen.json"
_FORMAT = 1
_MOST_DRAFTS = 50
_LONGEST_DRAFT = 200_000  # characters
_MOST_BYTES = 64 << 20  # of the file, before it is taken for damaged
_PATIENCE = 0.5  # seconds
_GLANCE = 0.01

Value = str | bool | Mapping[str, Any] | None


class Remembered:
    """Read when it is made; what is set is on disk after `save`.

    Several processes may share a folder: each writes only what it has set itself, and of the
    same thing the last one stays. Never give it the draft of a private chat.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._values = _read(folder)
        self._changed: dict[str, Value] = {}
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    @property
    def theme(self) -> str | None:
        """Its name, which may be one that is no more; None if none was chosen."""
        found = self._value("theme")
        return found if isinstance(found, str) else None

    @theme.setter
    def theme(self, name: str) -> None:
        self._set("theme", name)

    @property
    def is_sidebar_folded(self) -> bool:
        return self._value("sidebar folded") is True

    @is_sidebar_folded.setter
    def is_sidebar_folded(self, is_folded: bool) -> None:
        self._set("sidebar folded", is_folded)

    def draft(self, conversation: str) -> str:
        """What was typed there and not sent; empty if nothing was. "" is a new conversation."""
        return _text(self._value(_key(conversation)))

    def keep_draft(self, conversation: str, text: str) -> None:
        """Keeps `text`, or forgets what there was if it is empty: sent, or its chat deleted.

        Of very long text nothing is kept, and of many drafts the newest.
        """
        is_kept = bool(text.strip()) and len(text) <= _LONGEST_DRAFT
        if is_kept and text == self.draft(conversation):
            return
        key = _key(conversation)
        if is_kept:
            self._set(key, {"text": text, "at": self._clock()})
        elif self._value(key) is not None:
            self._set(key, None)

    @property
    def has_unsaved(self) -> bool:
        return bool(self._changed)

    def save(self) -> None:
        """Writes what has been set; in any thread. Raises OSError or LocalchatError.

        What could not be written is tried again the next time.
        """
        with self._saving:
            with self._lock:
                new, self._changed = self._changed, {}
                self._values = self._values | new
            if not new:
                return
            try:
                values = self._write(new)
            except BaseException:
                with self._lock:
                    self._changed = new | self._changed
                raise
            with self._lock:
                self._values = values

    def _write(self, new: dict[str, Value]) -> dict[str, Value]:
        folder = make_private(self._folder)
        with _turn(folder):
            # What others have set since is on disk only.
            merged = _read(folder) | new
            values = _bounded({key: value for key, value in merged.items() if value is not None})
            temporary = folder / f"{_FILE}.{os.getpid()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump({"format": _FORMAT, "values": values}, file)
                temporary.replace(folder / _FILE)
            finally:
                temporary.unlink(missing_ok=True)
        return values

    def _value(self, key: str) -> Value:
        with self._lock:
            return self._changed[key] if key in self._changed else self._values.get(key)

    def _set(self, key: str, value: Value) -> None:
        with self._lock:
            if self._changed.get(key, self._values.get(key)) != value:
                self._changed[key] = value


def _key(conversation: str) -> str:
    return f"draft {conversation}"


def _text(value: Value) -> str:
    found = value.get("text") if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""


def _bounded(values: dict[str, Value]) -> dict[str, Value]:
    """`values` without the oldest of too many drafts."""

    def age(key: str) -> float:
        value = values[key]
        at = value.get("at") if isinstance(value, Mapping) else None
        return at if isinstance(at, int | float) else 0.0

    drafts = sorted((key for key in values if key.startswith(_key(""))), key=age)
    for key in drafts[: max(len(drafts) - _MOST_DRAFTS, 0)]:
        del values[key]
    return values


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One process after the other, but for one that was stopped meanwhile: nobody waits long."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    lock = os.open(folder / f"{_FILE}.lock", flags, 0o600)
    try:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_GLANCE)
        yield
    finally:
        os.close(lock)


def _read(folder: Path) -> dict[str, Value]:
    """What the file holds; nothing of one that is missing or damaged, which the next save ends."""
    try:
        # Not blocking, or a FIFO in its place would hang the screen.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(folder / _FILE, flags), "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        values = found["values"] if found["format"] == _FORMAT else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
