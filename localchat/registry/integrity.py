"""Proves installed models, offline, and names what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from localchat.paths import Paths
from localchat.registry import chunks, installed, verify
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

    @property
    def damaged_bytes(self) -> int:
        """Bytes of the damaged chunks."""
        return sum(stop - start for start, stop in self.damaged)


def verify_model(
    record: Record, paths: Paths, progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Hashes all files of a model anew. `progress` is told bytes of the model, done and in all."""
    done = 0
    found = []
    for part in record.all_parts:

        def report(read: int, before: int = done) -> None:
            progress(min(before + read, record.size), record.size)

        found.append(verify_part(part, record.name, paths, report))
        done += part.size
        yield found[-1]
    if all(finding.state == "ok" for finding in found):
        _restamp(record, paths)


def verify_part(part: Part, name: str, paths: Paths, progress: Callable[[int], None]) -> Finding:
    """Hashes one file. Only if it is wrong is it read again, to find the chunks that are."""
    path = installed.location(part.sha256, paths)
    shown = str(path.resolve())
    whole = ((0, part.size),)
    try:
        if verify.sha256(path, progress) == part.sha256:
            return Finding(name, shown, "ok", part.size)
        return Finding(name, shown, "damaged", part.size, damaged_spans(path, part) or whole)
    except FileNotFoundError:
        return Finding(name, shown, "missing", part.size, whole, "the file is gone")
    except OSError as error:
        return Finding(name, shown, "unreadable", part.size, whole, error.strerror)


def damaged_spans(path: Path, part: Part) -> tuple[tuple[int, int], ...]:
    """Where a file differs from the chunks that were kept of it; none if none were kept.

    Raises OSError.
    """
    known = chunks.read(path)
    if known is None or known.size != part.size:
        return ()
    with path.open("rb", buffering=0) as file:
        there = chunks.hash_file(file, most=part.size).chunks()
    return tuple(known.span(number) for number in known.damaged(there))


def _restamp(record: Record, paths: Paths) -> None:
    """The files are right as they are now: the next load need not hash them."""
    with suppress(OSError):  # a folder that can't be written to costs the next load a hash
        fresh = [
            Part(p.sha256, verify.stamp(installed.location(p.sha256, paths)))
            for p in record.all_parts
        ]
        if tuple(fresh) != record.all_parts:
            count = len(record.parts)
            projector = fresh[count] if record.projector else None
            installed.record(
                replace(record, parts=tuple(fresh[:count]), projector=projector), paths
            )
