"""What a name stands for, of any kind, as a candidate. The hub is asked for a header, no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localchat import gguf
from localchat.errors import ModelLoadFailed, ModelNotFound, NetworkNeeded
from localchat.paths import Paths
from localchat.registry import installed, resolve
from localchat.registry.catalogue import catalog, names, offers
from localchat.registry.catalogue.names import CatalogueName, HubName, UrlName
from localchat.registry.catalogue.offers import Offer
from localchat.registry.fitting import candidates
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.contenders import contenders
from localchat.registry.sources import http, hub
from localchat.registry.sources.address import Remote
from localchat.registry.sources.remote_file import open_remote


def candidate(
    name: str, paths: Paths, *, offline: bool, token: bool, note: Callable[[str], None]
) -> Candidate:
    """A model of the catalogue, an installed one, a file of this machine, of the hub or of the web.

    Of a file that is elsewhere only the header is read, by ranges. With `token`, as the user who
    is logged in to the hub.

    Raises ModelNotFound, ModelLoadFailed (it is no GGUF file), UsageError, and NetworkNeeded (out
    of reach, or `offline` forbids to ask).
    """
    name = installed.aliases(paths).get(name.lower(), name)
    record = installed.find(name, paths)
    parsed = names.parse(name)
    if isinstance(parsed, CatalogueName):
        try:
            return _of_catalogue(parsed.text, paths)
        except ModelNotFound:
            if record is None:
                raise
    if record is not None and record.path(paths).is_file():
        return candidates.of_file(record.name, record.path(paths), record.sha256)
    if isinstance(parsed, UrlName):
        parsed = offers.of_page(parsed.url) or parsed
    if isinstance(parsed, HubName | UrlName) and offline:
        raise NetworkNeeded(
            f"The header of {name} has to be read over the network, and localchat is offline.",
            f"localchat models fit {name} (with offline mode off)",
        )
    if isinstance(parsed, HubName):
        if (own := hub.endpoint()) is not None:
            note(f"Asking {own} (HF_ENDPOINT), not the usual hub.")
        return _of_offer(offers.of_hub(parsed, token=token, note=note), token, note)
    if isinstance(parsed, UrlName):
        remote = Remote(parsed.url)
        size = http.size_of(remote, note)
        tag = names.quantization(parsed.url.partition("?")[0])
        return _of_header(name, remote, size, size, None, tag, note)
    return candidates.of_file(name, Path(resolve.resolve(name, paths).path))


def _of_catalogue(name: str, paths: Paths) -> Candidate:
    wanted = catalog.find(name).name
    return next(each for each in contenders(paths) if each.name == wanted)


def _of_offer(offer: Offer, token: bool, note: Callable[[str], None]) -> Candidate:
    source = offers.hub_source(offer.file)
    assert source is not None  # it was the hub's offer
    found = hub.locate(source, token=token, note=note)
    first = offer.file.size or found.size
    if first is None:
        raise NetworkNeeded(f"The hub does not say how long {source} is.")
    size = first + sum(shard.size or first for shard in offer.file.shards)
    key = None if offer.file.shards else offer.file.sha256 or found.sha256
    tag = offer.file.quantization
    return _of_header(offer.name, found.remote, first, size, key, tag, note)


def _of_header(
    name: str,
    remote: Remote,
    first: int,
    size: int,
    key: str | None,
    tag: str | None,
    note: Callable[[str], None],
) -> Candidate:
    """`first`: bytes of the file that has the header; `size`: of all files."""
    try:
        with open_remote(remote, first, note) as file:
            header = gguf.read(file, first)
    except ModelLoadFailed as error:
        raise ModelLoadFailed(f"{name} can't be judged: {error}.", error.hint) from error
    return candidates.of_header(name, header, size, key, quantization=tag)
