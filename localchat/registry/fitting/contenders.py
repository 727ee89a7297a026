"""All candidates there are: the files of the catalogue, and whatever else is installed.

The catalogue's part is remembered in the cache folder as plain JSON: importing pydantic and parsing
all manifests would take half of the time that a ranking may.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from localchat.errors import LocalchatError
from localchat.gguf import Header
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.catalogue import listing
from localchat.registry.fitting import candidates
from localchat.registry.fitting.candidates import Candidate


def contenders(paths: Paths) -> list[Candidate]:
    """Never uses the network. Raises ConfigError for a manifest that is not valid."""
    rows = {row.name: row for row in listing.listing(paths) if row.installed}
    records = {record.name: record for record in installed.records(paths)}
    found = []
    for each in _catalogue(paths):
        if rows.pop(each.name, None):
            record = records.get(each.name)
            key = record.sha256 if record else each.speed_key
            each = replace(each, installed=True, speed_key=key)
        found.append(each)
    for row in rows.values():
        # One that can't be read is `models verify`'s to report.
        with contextlib.suppress(LocalchatError, OSError):
            key = records[row.name].sha256
            found.append(candidates.of_file(row.name, Path(row.path or ""), key))
    return found


def _catalogue(paths: Paths) -> list[Candidate]:
    """Every file of the catalogue, as if none were installed."""
    current = listing.fingerprint()
    cache = paths.cache / "candidates.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        remembered = json.loads(cache.read_bytes())
        if remembered["fingerprint"] == current:
            return [_candidate(fields) for fields in remembered["candidates"]]
    from localchat.registry.catalogue.catalog import entries

    found = [candidates.of_entry(entry) for entry in entries()]
    with contextlib.suppress(OSError):  # only the next ranking would be slower
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(f".{os.getpid()}")
        kept = {"fingerprint": current, "candidates": [asdict(each) for each in found]}
        temporary.write_text(json.dumps(kept))
        temporary.replace(cache)
    return found


def _candidate(fields: dict[str, Any]) -> Candidate:
    """What `asdict` and JSON made of a candidate, undone."""
    header = fields["header"]
    if header is not None:
        metadata = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in header["metadata"].items()
        }
        header = Header(**header | {"metadata": metadata})
    return Candidate(**fields | {"header": header})
