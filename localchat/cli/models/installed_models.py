"""What several commands of `localchat models` begin with: the records of installed models."""

from __future__ import annotations

from contextlib import suppress

from localchat.errors import LocalchatError, ModelNotFound
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.installed import Record


def find(name: str, places: Paths) -> Record:
    """The record of the model `name`. Raises ModelNotFound if it is not installed."""
    from localchat.registry.resolve import resolve

    if (record := installed.find(name, places)) is not None:
        return record
    resolve(name, places)  # a model of the catalogue that the lock file does not know is recorded
    if (record := installed.find(name, places)) is not None:
        return record
    raise ModelNotFound(
        f"{name} is not installed: it is a file of its own.", f"localchat models import {name}"
    )


def chosen(name: str | None, places: Paths) -> list[Record]:
    """That of `name`; without one, all."""
    from localchat.registry.catalogue.listing import listing
    from localchat.registry.resolve import resolve

    if name:
        return [find(name, places)]
    known = {record.name for record in installed.records(places)}
    for row in listing(places):
        if row.installed and row.name not in known:
            with suppress(LocalchatError):  # it only looked like a file of the catalogue
                resolve(row.name, places)
    return installed.records(places)
