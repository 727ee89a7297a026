"""The folder beside an output: what the run was, which rows are finished, and who works on it.

OUT.batch/manifest.json   what is asked of each row; it may not change midway
OUT.batch/rows.db         see localchat.batch.journal
OUT.batch/lock            held by the process that works on it
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from localchat import __version__
from localchat.batch.journal import Journal, no_space
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.errors import LocalchatError, UsageError
from localchat.store.connection import sync

_FORMAT = 1
_SUFFIX = ".batch"


class Changed(UsageError):
    """The run was begun with other parameters."""


class Beside:
    """The folder of one output. Close it to let others work on it."""

    def __init__(self, output: Path) -> None:
        """Takes the lock; makes the folder if need be. Raises LocalchatError if it is held."""
        self.output = output
        self.folder = folder_of(output)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(
                self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise no_space() from error
            raise LocalchatError(
                f"Nothing can be written beside {output}: {error.strerror}.",
                "Name an output in a folder of yours: -o OUT",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LocalchatError(
                f"Another localchat is working on {output}.", f"localchat batch status {output}"
            ) from None

    def close(self) -> None:
        os.close(self._lock)

    @property
    def manifest(self) -> dict[str, Any] | None:
        return manifest_of(self.output)

    def journal(self) -> Journal:
        return Journal(self.folder / "rows.db")

    def clear(self) -> None:
        """Forgets the run, and the output that was made of it."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "manifest.json").unlink()
        for path in self.folder.iterdir():
            if path.name != "lock":
                path.unlink()
        sync(self.folder)

    def begin(self, plan: Plan, source: Input) -> None:
        """Writes what the run is, or sees that it is the same. Raises Changed, which says what is
        not."""
        known = self.manifest
        if known is None:
            self.clear()
            self.write({"parameters": plan.to_json(), "input": looks(source)})
            return
        changed = changes(known["parameters"], plan.to_json())
        if changed:
            raise Changed(
                f"{self.output} was begun with other parameters: {'; '.join(changed)}.",
                "Name another output with -o, or begin anew with --restart.",
            )

    def write(self, values: dict[str, Any]) -> None:
        """Replaces the manifest, as one durable step. Raises OSError."""
        values = {"format": _FORMAT, "version": __version__, **values}
        made = self.folder / "manifest.new"
        made.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        sync(made)
        made.replace(self.folder / "manifest.json")
        sync(self.folder)


def folder_of(output: Path) -> Path:
    return output.with_name(output.name + _SUFFIX)


def manifest_of(output: Path) -> dict[str, Any] | None:
    """What the run of an output is; None if there is none. Raises LocalchatError for nonsense."""
    path = folder_of(output) / "manifest.json"
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != _FORMAT:
            raise LocalchatError(
                f"{path} was written by localchat {found['version']}, a newer one.",
                "Update localchat, or name another output with -o.",
            )
        return {**found, "parameters": dict(found["parameters"])}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise LocalchatError(
            f"{path} can't be read: {error}.",
            "Name another output with -o, or begin anew with --restart.",
        ) from error


def is_at_work(output: Path) -> bool:
    """Whether a process works on it now."""
    try:
        lock = os.open(folder_of(output) / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, one thing each, with the values where they are short."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        one, other = before.get(name), now.get(name)
        if one != other and not (name == "model" and _are_same_file(one, other)):
            found.append(f"{name} was {_short(name, one)}, is {_short(name, other)} now")
    return found


def _are_same_file(one: Any, other: Any) -> bool:
    """Whether two models are one, under whatever names."""
    return bool(one and other and one["sha256"] and one["sha256"] == other["sha256"])


def _short(name: str, value: Any) -> str:
    if name == "model" and isinstance(value, dict):
        if value.get("sha256"):
            return f"{value.get('name')} ({value['sha256'][:12]}…)"
        return f"{value.get('name')} ({value.get('size', 0):,} bytes, as it looked then)"
    if value is None:
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def looks(source: Input) -> dict[str, Any]:
    """What an input is known by; its digest only once it is read."""
    return {"path": source.path, "size": source.size, "mtime_ns": source.mtime_ns, "sha256": None}
