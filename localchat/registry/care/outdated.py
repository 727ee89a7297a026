"""Compares what is installed with what is offered now: by the catalogue and, if asked, the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from localchat.errors import ModelNotFound
from localchat.paths import Paths
from localchat.registry.catalogue import catalog, names
from localchat.registry.catalogue.manifest import HubSource, Source
from localchat.registry.catalogue.names import HubName
from localchat.registry.download import Watcher
from localchat.registry.installed import Part, Record
from localchat.registry.sources import hub

_SOURCES: TypeAdapter[tuple[Source, ...]] = TypeAdapter(tuple[Source, ...])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One installed model against what is offered under its name."""

    name: str
    state: Literal["current", "outdated", "withdrawn", "unknown"]
    """withdrawn: no longer offered. unknown: nothing offline, or nothing at all, tells."""
    installed: str
    """sha256 of the first file."""
    offered: str | None
    """sha256 of what a pull would bring; None if nothing is offered."""
    by: Literal["catalogue", "hub"] | None
    """Who offers it."""
    when: str
    """When the installed one came: YYYY-MM-DD."""


def compare(
    record: Record, paths: Paths, watcher: Watcher, *, online: bool, token: bool = False
) -> Comparison:
    """`online`: files of the hub are compared with what is there now.

    Raises NetworkNeeded if the hub can't be reached.
    """
    part = record.parts[0]

    def outcome(
        offered: str | None,
        by: Literal["catalogue", "hub"] | None,
        otherwise: Literal["withdrawn", "unknown"],
    ) -> Comparison:
        state = (
            otherwise if offered is None else "current" if offered == part.sha256 else "outdated"
        )
        return Comparison(record.name, state, part.sha256, offered, by, record.when)

    if record.origin == "catalogue":
        try:
            pinned = catalog.find(record.name).file.sha256
        except ModelNotFound:
            return outcome(None, "catalogue", "withdrawn")
        if pinned is not None:
            return outcome(pinned, "catalogue", "unknown")
    source = _hub_source(part, record)
    if not online or source is None:
        return outcome(None, None, "unknown")
    try:
        repo = hub.look_at(source.repo, _revision(record), token=token, note=watcher.note)
    except ModelNotFound:
        return outcome(None, "hub", "withdrawn")
    now = next((file.sha256 for file in repo.files if file.path == source.file), None)
    return outcome(now, "hub", "withdrawn")


def _revision(record: Record) -> str | None:
    """The branch or commit that was asked for; None for the main one."""
    parsed = names.parse(record.name)
    return parsed.revision if isinstance(parsed, HubName) else None


def _hub_source(part: Part, record: Record) -> HubSource | None:
    try:
        found = _SOURCES.validate_python((record.sources or {}).get(part.sha256, ()))
    except ValidationError:  # someone edited the lock file
        return None
    return next((source for source in found if isinstance(source, HubSource)), None)
