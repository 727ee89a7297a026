"""What there is: the files of the catalogue, and what is installed.

The catalogue's part is remembered in the cache folder as plain JSON, so that a list imports no
pydantic and parses no TOML as long as the manifests are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from localchat import __version__
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.installed import Record


@dataclass(frozen=True, slots=True)
class Row:
    """One model file, for a list."""

    name: str
    """What to type to get this file."""
    aliases: tuple[str, ...]
    kind: str | None
    """What it is for: chat, base, coder, vision, embedding, draft; None: not in the catalogue."""
    family: str | None
    parameters: int | None
    context_length: int | None
    """Tokens."""
    quantization: str
    size: int | None
    """Bytes of all files, projector included; None: the hub says, at the first pull."""
    licence: str | None
    is_pinned: bool
    """Whether the catalogue knows the digest."""
    sha256: str | None
    """Of the first file."""
    installed: bool = False
    """Files of the right size are there; their content is checked when they are used."""
    path: str | None = None
    """Where the first is, if it is installed."""
    origin: str = "catalogue"


def count(parameters: int) -> str:
    """A number of weights, as people say it."""
    if parameters < 999_500_000:
        return f"{parameters / 1e6:.0f} M"
    return f"{parameters / 1e9:.1f} B"


def listing(paths: Paths) -> tuple[Row, ...]:
    """Every file of the catalogue, and whatever else is installed. Hashes nothing."""
    known = {record.name: record for record in installed.records(paths)}
    rows = [_with_state(row, known.pop(row.name, None), paths) for row in catalogue(paths)]
    rows += [_row(record, paths) for record in known.values()]
    return tuple(sorted(rows, key=lambda row: row.name))


def catalogue(paths: Paths) -> list[Row]:
    """Every file of the catalogue, by name, as if none were installed."""
    current = fingerprint()
    cache = paths.cache / "catalogue.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        remembered = json.loads(cache.read_bytes())
        if remembered["fingerprint"] == current:
            return [Row(**row | {"aliases": tuple(row["aliases"])}) for row in remembered["rows"]]
    rows = _from_manifests()
    with contextlib.suppress(OSError):  # only the next list would be slower
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(f".{os.getpid()}")
        temporary.write_text(
            json.dumps({"fingerprint": current, "rows": [asdict(row) for row in rows]})
        )
        temporary.replace(cache)
    return rows


def _from_manifests() -> list[Row]:
    from localchat.registry.catalogue import catalog

    rows = []
    for entry in catalog.entries():
        manifest, file = entry.manifest, entry.file
        beside = manifest.projector.size if manifest.projector else 0
        total = file.total
        rows.append(
            Row(
                name=entry.name,
                aliases=manifest.aliases,
                kind=manifest.kind,
                family=manifest.family,
                parameters=manifest.parameters,
                context_length=manifest.context_length,
                quantization=file.quantization,
                size=None if total is None or beside is None else total + beside,
                licence=manifest.licence,
                is_pinned=file.pinned,
                sha256=file.sha256,
            )
        )
    return rows


def fingerprint() -> str:
    """Differs when a manifest or localchat does."""
    from hashlib import sha256

    from localchat.registry.catalogue.folder import folder

    seen = []
    with os.scandir(folder()) as files:
        for file in files:
            status = file.stat()
            seen.append((file.name, status.st_size, status.st_mtime_ns))
    return sha256(repr((__version__, str(folder()), sorted(seen))).encode()).hexdigest()


def _with_state(row: Row, record: Record | None, paths: Paths) -> Row:
    if record is not None:  # it may be another file than the catalogue has by now
        there = _is_there(record, paths)
        return replace(
            row,
            quantization=record.quantization,
            size=record.size,
            sha256=record.parts[0].sha256,
            installed=there,
            path=str(record.path(paths)) if there else None,
        )
    # Installed though the lock file does not say so: found by its digest alone.
    if row.sha256 is None:
        return row
    path = installed.location(row.sha256, paths)
    there = path.is_file() and path.stat().st_size == row.size
    return replace(row, installed=there, path=str(path) if there else None)


def _row(record: Record, paths: Paths) -> Row:
    there = _is_there(record, paths)
    return Row(
        name=record.name,
        aliases=record.keys[1:],
        kind=None,
        family=None,
        parameters=None,
        context_length=None,
        quantization=record.quantization,
        size=record.size,
        licence=record.licence,
        is_pinned=record.is_pinned,
        sha256=record.parts[0].sha256,
        installed=there,
        path=str(record.path(paths)) if there else None,
        origin=record.origin,
    )


def _is_there(record: Record, paths: Paths) -> bool:
    return all(_has_size(installed.location(p.sha256, paths), p.size) for p in record.all_parts)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
