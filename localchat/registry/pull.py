"""Installs a model: from what its name offers to files that are there, verified and recorded."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from localchat.errors import LocalchatError, ModelNotFound, NetworkNeeded, VerificationFailed
from localchat.paths import Paths, make_private
from localchat.registry import download, installed
from localchat.registry.catalogue import names
from localchat.registry.catalogue.manifest import Blob
from localchat.registry.catalogue.names import CatalogueName, HubName, PathName, UrlName
from localchat.registry.catalogue.offers import Offer
from localchat.registry.download import Wanted, Watcher
from localchat.registry.files import blobs, elsewhere, locks, verify
from localchat.registry.installed import Record
from localchat.types import ModelRef


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to."""

    model: ModelRef
    record: Record
    served: tuple[str, ...]
    """The sources that served files; none if all were there."""


def pull(
    name: str,
    paths: Paths,
    *,
    offline: bool,
    watcher: Watcher,
    token: bool = False,
    sha256: str | None = None,
) -> Pulled:
    """Installs the model `name` as it is offered now, or replaces its damaged file.

    A file that is there is hashed, whatever its stamp says: this is also the way to take over what
    changed in the catalogue or on the hub. Only what is not right is fetched.

    Raises ModelNotFound, NetworkNeeded (also: a fetch is needed and `offline` forbids it),
    VerificationFailed (the source sent something else), OutOfSpace, UsageError.
    """
    offer = offer_for(name, paths, offline=offline, watcher=watcher, token=token, sha256=sha256)
    try:
        with locks.incoming(make_private(paths.models)):
            return _install(offer, paths, offline=offline, watcher=watcher, token=token)
    except LocalchatError as error:
        error.hint = error.hint or f"localchat pull {offer.name}"
        raise


def offer_for(
    name: str,
    paths: Paths,
    *,
    offline: bool,
    watcher: Watcher,
    token: bool = False,
    sha256: str | None = None,
) -> Offer:
    """What `name` offers. Asks the hub where the catalogue can't answer, unless `offline`.

    Offline, what was installed under the name is what it offers.
    """
    from localchat.registry.catalogue import catalog, offers

    parsed = names.parse(installed.aliases(paths).get(name.lower(), name))
    if isinstance(parsed, UrlName) and (page := offers.of_page(parsed.url)):
        parsed, name = page, str(page)
    if isinstance(parsed, CatalogueName):
        try:
            return offers.of_catalogue(catalog.find(parsed.text))
        except ModelNotFound:
            # Imported under a name of its own, or dropped by the catalogue since.
            if known := installed.find(name, paths):
                return _again(known)
            raise
    if isinstance(parsed, PathName):
        raise ModelNotFound(
            f"{parsed.text!r} names a file of this machine; it need not be pulled.",
            f"localchat -m {parsed.text} …, or localchat models import {parsed.text}",
        )
    if offline:
        if known := installed.find(name, paths):
            return _again(known)
        raise _offline(name)
    if isinstance(parsed, HubName):
        return offers.of_hub(parsed, token=token, note=watcher.note)
    size = None
    if sha256 is not None:
        from localchat.registry.sources import http

        size = http.size_of(http.Remote(parsed.url), watcher.note)
    offer = offers.of_url(parsed.url, sha256 and sha256.lower(), size)
    if _is_taken(offer, paths):
        return replace(offer, name=parsed.url, keys=(parsed.url.lower(),))
    return offer


def _is_taken(offer: Offer, paths: Paths) -> bool:
    """Whether the name that an address's end gives a file is that of another model already."""
    from localchat.registry.catalogue import catalog

    known = installed.find(offer.name, paths)
    if known is not None and not set(offer.keys) <= set(known.keys):
        return True
    try:
        catalog.find(offer.name)
    except ModelNotFound:
        return False
    return True


def _again(known: Record) -> Offer:
    """What is recorded, as an offer: the same files from the same sources."""
    from localchat.registry.catalogue.manifest import ModelFile
    from localchat.registry.catalogue.offers import Offer

    def fields(part: installed.Part) -> dict[str, object]:
        sources = (known.sources or {}).get(part.sha256)
        if not sources:
            raise ModelNotFound(
                f"{known.name} was imported, so there is nowhere to pull it from.",
                f"localchat models import PATH --name {known.name}",
            )
        return {"size": part.size, "sha256": part.sha256, "sources": sources}

    first, *further = (fields(part) for part in known.parts)
    file = first | {"quantization": known.quantization, "shards": further}
    return Offer(
        name=known.name,
        keys=known.keys,
        origin=known.origin,
        file=ModelFile.model_validate(file),
        projector=Blob.model_validate(fields(known.projector)) if known.projector else None,
        licence=known.licence,
        chat_template=known.chat_template,
        template_sha256=known.template_sha256,
        sampling=known.sampling,
    )


def _install(offer: Offer, paths: Paths, *, offline: bool, watcher: Watcher, token: bool) -> Pulled:
    before = installed.find(offer.name, paths)
    wanted = [_pin(blob, offer.name, before, offline, watcher, token) for blob in offer.blobs]
    for old, new in zip(before.parts if before else (), wanted, strict=False):
        if old.sha256 != new.sha256:
            watcher.note(f"{offer.name} is another file than before: its sha256 was {old.sha256}.")
    total = sum(each.size for each in wanted)
    served = []
    done = 0
    for each in wanted:
        share = _Share(watcher, done, total)
        served.append(_see_to(each, offer.name, paths, offline=offline, watcher=share, token=token))
        done += each.size
    with download.as_told(paths.models):
        record = _record(offer, wanted, served, before, paths)
        blobs.lay_out(record.parts, paths)
    if before is None or before.sha256 != record.sha256:
        from localchat.registry.care import examine, removal

        try:
            template = examine.first_look(record, paths, watcher, offer.template_sha256)
        except VerificationFailed:
            removal.drop((part.sha256 for part in record.all_parts), paths)
            raise
        record = replace(record, template_sha256=template)
    with download.as_told(paths.models):
        installed.record(record, paths)
    came = tuple(dict.fromkeys(source for source in served if source))
    return Pulled(record.model(paths), record, came)


def _pin(
    blob: Blob, name: str, before: Record | None, offline: bool, watcher: Watcher, token: bool
) -> Wanted:
    """The bytes that are wanted; what the catalogue leaves open, the hub says, or the lock file."""
    if blob.sha256 is not None and blob.size is not None:
        return Wanted(blob.size, blob.sha256, blob.sources)
    from localchat.registry.catalogue.offers import hub_source
    from localchat.registry.sources import hub

    source = hub_source(blob)
    assert source is not None  # the manifest's own rule
    known = _recorded(source.file, before)
    if offline:
        if known is None:
            raise _offline(name)
        return Wanted(known.size, known.sha256, blob.sources)
    found = hub.locate(source, token=token, note=watcher.note)
    sha256 = blob.sha256 or found.sha256
    if sha256 is None or found.size is None:
        raise VerificationFailed(f"The hub gives no digest for {source}, so it can't be verified.")
    if found.sha256 not in (None, sha256):
        raise VerificationFailed(f"The hub has another file by now as {source}.")
    if blob.sha256 is None:
        watcher.note(
            f"{source.file} is not pinned by the catalogue: its sha256 is what the hub says,"
            f" {sha256}. It is kept in the lock file."
        )
    revision = found.commit or source.revision
    return Wanted(found.size, sha256, (source.model_copy(update={"revision": revision}),))


def _recorded(file: str, before: Record | None) -> installed.Part | None:
    """What the lock file has for a file of the hub."""
    for part in before.all_parts if before else ():
        for source in ((before.sources if before else None) or {}).get(part.sha256, []):
            if source.get("file") == file:
                return part
    return None


def _see_to(
    wanted: Wanted, name: str, paths: Paths, *, offline: bool, watcher: Watcher, token: bool
) -> str | None:
    """Sees to it that the file is there; where it came from, None if it was there."""
    target = installed.location(wanted.sha256, paths)
    with download.as_told(paths.models):
        if verify.matches(target, wanted.size, wanted.sha256):
            watcher.progress(wanted.size, wanted.size)
            return None
        if found := elsewhere.find(wanted.sha256, wanted.size):
            with suppress(ValueError):  # it has changed since it was found
                blobs.take_in(found, "link", paths, watcher.progress, wanted.sha256)
                watcher.note(f"Using {found}, where it lies: nothing has to be downloaded.")
                return str(found)
    if offline:
        raise _offline(name)
    return download.fetch(wanted, paths, watcher, token=token)


def _record(
    offer: Offer,
    wanted: list[Wanted],
    served: list[str | None],
    before: Record | None,
    paths: Paths,
) -> Record:
    parts = tuple(blobs.part(each.sha256, paths) for each in wanted)
    sources = {
        each.sha256: [source.model_dump(mode="json") for source in each.sources] for each in wanted
    }
    count = len(offer.file.blobs)
    same = before is not None and {p.sha256 for p in before.all_parts} == set(sources)
    return Record(
        name=offer.name,
        keys=offer.keys,
        parts=parts[:count],
        projector=parts[count] if offer.projector else None,
        quantization=offer.file.quantization,
        origin=offer.origin,
        sources=sources,
        served=served[0] or (before.served if before and same else None),
        is_pinned=offer.is_pinned,
        when=before.when if before and same else datetime.date.today().isoformat(),
        licence=offer.licence,
        chat_template=offer.chat_template,
        template_sha256=before.template_sha256 if before and same else None,
        sampling=offer.sampling,
    )


def _offline(name: str) -> NetworkNeeded:
    return NetworkNeeded(
        f"The model {name} has to be downloaded, and localchat is offline.",
        f"localchat pull {name} (with offline mode off)",
    )


class _Share:
    """Counts one file's progress as a part of all."""

    def __init__(self, watcher: Watcher, before: int, total: int) -> None:
        self._watcher = watcher
        self._before = before
        self._total = total
        self.note: Callable[[str], None] = watcher.note

    def progress(self, done: int, total: int) -> None:
        self._watcher.progress(self._before + done, self._total)
