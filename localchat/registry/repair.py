"""Mends damaged models: fetches the damaged chunks by range, and only those."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from localchat.errors import ModelNotFound, NetworkNeeded, VerificationFailed
from localchat.paths import Paths
from localchat.registry import blobs, catalog, chunks, download, installed, integrity
from localchat.registry.chunks import CHUNK, Chunks
from localchat.registry.download import Wanted, Watcher
from localchat.registry.installed import Part, Record
from localchat.registry.integrity import Finding
from localchat.registry.manifest import PypiSource, Source
from localchat.registry.partial import Partial, WrongBytes

_SOURCES: TypeAdapter[tuple[Source, ...]] = TypeAdapter(tuple[Source, ...])


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair came to."""

    findings: tuple[Finding, ...]
    """What was found wrong; none: nothing had to be done."""
    fetched: int
    """Bytes that came over the network."""


def repair(
    record: Record, paths: Paths, *, offline: bool, watcher: Watcher, token: bool = False
) -> Repaired:
    """Verifies an installed model and mends what is damaged.

    The good chunks are taken from the file that is there, and the whole is hashed before it takes
    the name: an engine that has the damaged file open keeps it until it leaves.

    Raises NetworkNeeded, VerificationFailed, ModelNotFound (nowhere to get it from), OutOfSpace.
    """
    found = []
    fetched = 0
    for part in record.all_parts:

        def progress(done: int, part: Part = part) -> None:
            watcher.progress(done, part.size)

        finding = integrity.verify_part(part, record.name, paths, progress)
        if finding.state != "ok":
            found.append(finding)
            fetched += _mend(part, finding, record, paths, offline, watcher, token)
    blobs.lay_out(record.parts, paths)
    fresh = tuple(blobs.part(each.sha256, paths) for each in record.all_parts)
    count = len(record.parts)
    installed.record(
        replace(record, parts=fresh[:count], projector=fresh[count] if record.projector else None),
        paths,
    )
    return Repaired(tuple(found), fetched)


def _mend(
    part: Part,
    finding: Finding,
    record: Record,
    paths: Paths,
    offline: bool,
    watcher: Watcher,
    token: bool,
) -> int:
    """Bytes that were fetched."""
    if offline:
        raise NetworkNeeded(
            f"{record.name} is damaged, and localchat is offline: nothing can be fetched.",
            f"localchat models repair {record.name} (with offline mode off)",
        )
    wanted = Wanted(part.size, part.sha256, _sources(part, record))
    target = installed.location(part.sha256, paths)
    known = chunks.read(target)
    if finding.state == "damaged" and known is not None and finding.damaged_bytes < part.size:
        for source in wanted.sources:
            if isinstance(source, PypiSource):  # a wheel can't be had in parts
                continue
            watcher.note(
                f"{len(finding.damaged)} of {len(known.digests)} parts of the file are damaged:"
                f" fetching {finding.damaged_bytes / 1e6:,.0f} of {part.size / 1e6:,.0f} MB."
            )
            try:
                with (
                    download.as_told(target.parent),
                    download.locked(target, part.size, watcher),
                    Partial(target, part.size) as partial,
                ):
                    return _Patch(known, target, wanted, partial, watcher).apply(source, token)
            except (NetworkNeeded, ModelNotFound, VerificationFailed) as error:
                watcher.note(str(error))
    watcher.note("Fetching the whole file …")
    download.fetch(wanted, paths, watcher, token=token)
    return part.size


class _Patch:
    """Puts a file together from its own good chunks and fetched ones."""

    def __init__(
        self, known: Chunks, damaged: Path, wanted: Wanted, partial: Partial, watcher: Watcher
    ) -> None:
        self._known = known
        self._damaged = damaged
        self._wanted = wanted
        self._partial = partial
        self._watcher = watcher

    def apply(self, source: Source, token: bool) -> int:
        """Bytes that were fetched. Raises NetworkNeeded, VerificationFailed, OSError."""
        from localchat.registry.sources import http

        assert not isinstance(source, PypiSource)
        place = download.remote(source, self._wanted, self._watcher.note, token=token)
        partial, known, fetched = self._partial, self._known, 0
        partial.begin(str(source))
        partial.remember(None)  # what was put together so far serves a later try
        partial.cut(partial.size // CHUNK * CHUNK)
        with self._damaged.open("rb") as file:
            for number in range(partial.size // CHUNK, len(known.digests)):
                start, stop = known.span(number)
                file.seek(start)
                data = file.read(stop - start)
                if chunks.digest(data) != known.digests[number]:
                    data = http.fetch_range(place, start, stop, self._watcher.note)
                    fetched += len(data)
                    if chunks.digest(data) != known.digests[number]:
                        raise VerificationFailed("The source has other bytes than this file had.")
                partial.append(data)
                self._watcher.progress(partial.size, known.size)
        try:
            partial.finish(self._wanted.sha256)
        except WrongBytes:
            partial.discard()
            raise
        return fetched


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
