"""Proves installed models, offline, and names what is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.files import chunks, verify
from localchat.registry.files.verify import Stamp
from localchat.registry.installed import Part, Record

State = Literal["ok", "damaged", "missing", "unreadable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What has become of one file of an installed model."""

    model: str
    """The model's name."""
    path: str
    state: State
    size: int
    """Bytes it should have."""
    damaged: tuple[tuple[int, int], ...] = ()
    """Where it is damaged: first byte and end of each chunk. All of it, if no chunks are known."""
    reason: str | None = None
    """What there is to say beyond the state: part of a sentence."""

    @property
    def damaged_bytes(self) -> int:
        """Bytes of the damaged chunks."""
        return sum(stop - start for start, stop in self.damaged)


def verify_model(
    record: Record, paths: Paths, progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Hashes all files of a model anew. `progress` is told bytes of the model, done and in all.

    If all are right, the next load need not hash them.
    """
    done = 0
    proven = []
    for part in record.all_parts:

        def report(read: int, before: int = done) -> None:
            progress(min(before + read, record.size), record.size)

        seen = _stamp(part, paths)  # before: a write during the hashing then shows
        finding = verify_part(part, record.name, paths, report)
        if finding.state == "ok" and seen is not None:
            proven.append(Part(part.sha256, seen))
        done += part.size
        yield finding
    if len(proven) == len(record.all_parts):
        _remember(record, tuple(proven), paths)


def verify_part(part: Part, name: str, paths: Paths, progress: Callable[[int], None]) -> Finding:
    """Hashes one file. Only if it is wrong is it read again, to find the chunks that are."""
    path = installed.location(part.sha256, paths)
    shown = os.path.realpath(path)  # Path.resolve raises over links that lead to each other
    whole = ((0, part.size),)
    try:
        if not path.is_file():  # a FIFO would wait for a writer
            path.stat()
            return Finding(name, shown, "unreadable", part.size, whole, "it is not a regular file")
        surplus = path.stat().st_size - part.size
        if not surplus and verify.sha256(path, progress) == part.sha256:
            return Finding(name, shown, "ok", part.size)
        spans = damaged_spans(path, part)
        if spans is None or not (spans or surplus):
            spans = whole
        reason = None
        if surplus < 0:
            reason = f"it ends after {part.size + surplus:,} of {part.size:,} bytes"
        elif surplus > 0:
            reason = f"it is {surplus:,} bytes too long"
        return Finding(name, shown, "damaged", part.size, spans, reason)
    except FileNotFoundError:
        return Finding(name, shown, "missing", part.size, whole, "the file is gone")
    except OSError as error:
        return Finding(name, shown, "unreadable", part.size, whole, error.strerror)


def damaged_spans(path: Path, part: Part) -> tuple[tuple[int, int], ...] | None:
    """Where a file differs from the chunks that were kept of it; None if none were kept.

    Raises OSError.
    """
    known = chunks.read(path)
    if known is None or known.size != part.size:
        return None
    with path.open("rb", buffering=0) as file:
        there = chunks.hash_file(file, most=part.size).chunks()
    return tuple(known.span(number) for number in known.damaged(there))


def _stamp(part: Part, paths: Paths) -> Stamp | None:
    with suppress(OSError):
        return verify.stamp(installed.location(part.sha256, paths))
    return None


def _remember(record: Record, proven: tuple[Part, ...], paths: Paths) -> None:
    if proven == record.all_parts:
        return
    count = len(record.parts)
    fresh = replace(
        record, parts=proven[:count], projector=proven[count] if record.projector else None
    )
    with suppress(OSError, LocalchatError):  # a folder that is not to be written to costs a hash
        installed.record(fresh, paths)
