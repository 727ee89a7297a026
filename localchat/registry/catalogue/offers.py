"""What a name offers before it is installed: which files, with which digests, from where.

The catalogue answers from its manifests; the hub is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from localchat.errors import ModelNotFound, UsageError
from localchat.registry.catalogue import names
from localchat.registry.catalogue.catalog import Entry
from localchat.registry.catalogue.manifest import Blob, HubSource, ModelFile, UrlSource
from localchat.registry.catalogue.names import HubName
from localchat.registry.installed import Origin
from localchat.registry.sources import hub
from localchat.registry.sources.hub import RepoFile

_USUAL = "Q4_K_M"  # what most people want, and what llama.cpp's own tools take
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be installed."""

    name: str
    keys: tuple[str, ...]
    """Every name that means it, in lower case."""
    origin: Origin
    file: ModelFile
    projector: Blob | None = None
    licence: str | None = None
    licence_note: str | None = None
    chat_template: str | None = None
    template_sha256: str | None = None
    sampling: tuple[tuple[str, Any], ...] = field(default=())

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All its files: the weights in their order, then the projector."""
        return (*self.file.blobs, *([self.projector] if self.projector else []))

    @property
    def is_pinned(self) -> bool:
        """Whether the catalogue or the user says which bytes are right, not the hub alone."""
        return self.origin != "hub" and all(blob.pinned for blob in self.blobs)


def of_catalogue(entry: Entry) -> Offer:
    manifest = entry.manifest
    return Offer(
        name=entry.name,
        keys=entry.keys,
        origin="catalogue",
        file=entry.file,
        projector=manifest.projector,
        licence=manifest.licence,
        licence_note=manifest.licence_note,
        chat_template=manifest.chat_template,
        template_sha256=manifest.template_sha256,
        sampling=manifest.sampling.pairs(),
    )


def of_hub(wanted: HubName, *, token: bool, note: Callable[[str], None]) -> Offer:
    """Asks the hub. Raises what `hub.look_at` raises; ModelNotFound if no file is meant."""
    repo = hub.look_at(wanted.repo, wanted.revision, token=token, note=note)
    files = {file.path: file for file in repo.files if file.path.lower().endswith(".gguf")}
    weights = [path for path in files if not _is_beside(path)]
    chosen = _choose(wanted, weights)
    shards = _shards(chosen, weights)
    projectors = sorted(filter(_is_projector, files), key=_projector_order)

    def blob(path: str) -> dict[str, Any]:
        # The commit, not the branch: later parts and later tries get the same upload.
        source = {"type": "hub", "repo": wanted.repo, "file": path, "revision": repo.commit}
        # Size and digest go in too, though they are the hub's own word: `pull` says so.
        return _known(files[path]) | {"sources": [source]}

    try:
        tag = names.quantization(chosen)
        first, *further = map(blob, shards)
        file = ModelFile.model_validate(
            first | {"quantization": tag or "UNKNOWN", "shards": further}
        )
        projector = Blob.model_validate(blob(projectors[0])) if projectors else None
    except ValidationError as error:
        raise ModelNotFound(
            f"{wanted.repo} describes its files in a way that is not safe."
        ) from error
    exact = HubName(wanted.repo, file=chosen, revision=wanted.revision)
    by_tag = HubName(wanted.repo, tag=wanted.tag or tag, revision=wanted.revision)
    name = str(exact if wanted.file or tag is None else by_tag)
    keys = {name, str(wanted), str(exact)}
    return Offer(
        name=name,
        keys=(name.lower(), *sorted({key.lower() for key in keys} - {name.lower()})),
        origin="hub",
        file=file,
        projector=projector,
        licence=repo.licence,
    )


def of_url(url: str, sha256: str | None, size: int | None) -> Offer:
    """A file that is served as it is. Raises UsageError without a digest."""
    if sha256 is None or size is None:
        raise UsageError(
            "An address alone does not say which bytes are right.",
            f"localchat pull {url} --sha256 HEX",
        )
    file = url.partition("?")[0].rsplit("/", 1)[-1]
    try:
        model = ModelFile(
            size=size,
            sha256=sha256,
            sources=(UrlSource(url=url),),
            quantization=names.quantization(file) or "UNKNOWN",
        )
    except ValidationError as error:
        raise UsageError(f"{url!r} with the sha256 {sha256!r} can't be used.") from error
    name = file.lower().removesuffix(".gguf") or "model"
    return Offer(name=name, keys=(name, url.lower()), origin="url", file=model)


def of_page(url: str) -> HubName | None:
    """The hub's name for a file whose address was copied from its pages; None for others."""
    try:
        source = hub.from_url(url)
    except ValidationError:
        return None
    if source is None:
        return None
    revision = None if source.revision == "main" else source.revision
    return HubName(source.repo, file=source.file, revision=revision)


def hub_source(blob: Blob) -> HubSource | None:
    """The first source of the file that is on the hub."""
    return next((each for each in blob.sources if isinstance(each, HubSource)), None)


def _choose(wanted: HubName, weights: list[str]) -> str:
    """The file that is meant, or the first of its parts."""
    if wanted.file:
        found = [path for path in weights if path == wanted.file]
    else:
        found = [path for path in weights if _has_tag(path, wanted.tag or _USUAL)]
        if not found and not wanted.tag and weights:
            first = min(weights)
            tag = names.quantization(first)
            found = [path for path in weights if tag and _has_tag(path, tag)] or [first]
    if found:
        # The shortest: MODEL-Q4_K_M.gguf comes before MODEL-UD-Q4_K_M.gguf and draft heads; and
        # the first part of a split one before the others.
        return min(found, key=lambda path: (len(path), path))
    there = sorted({tag for path in weights if (tag := names.quantization(path))})
    what = wanted.file or f"file of the quantization {wanted.tag or _USUAL}"
    raise ModelNotFound(
        f"{wanted.repo} has no {what}."
        + (f" It has {', '.join(there)}." if there else " It has no GGUF files at all."),
        f"localchat pull {wanted.repo}:{there[0]}" if there else "localchat models list",
    )


def _has_tag(path: str, tag: str) -> bool:
    if "-" in tag:  # more exact than llama.cpp's own: UD-Q4_K_XL
        return bool(re.search(rf"(?<![A-Z0-9]){re.escape(tag)}(?![A-Z0-9_])", path.upper()))
    return names.quantization(path) == (names.quantization(tag) or tag)


def _shards(chosen: str, weights: list[str]) -> list[str]:
    """All parts of the model that begins with `chosen`. Raises ModelNotFound if one is missing."""
    match = _SHARD.fullmatch(chosen)
    if match is None:
        return [chosen]
    stem, _, count = match.groups()
    needed = [f"{stem}-{number:05}-of-{count}.gguf" for number in range(1, int(count) + 1)]
    missing = [path for path in needed if path not in weights]
    if missing:
        raise ModelNotFound(f"The model is split, and its part {missing[0]} is not there.")
    return needed


def _is_projector(path: str) -> bool:
    return path.rsplit("/", 1)[-1].lower().startswith("mmproj") or "-mmproj" in path.lower()


def _is_beside(path: str) -> bool:
    """Files that go with a model and are none: projectors, importance matrices, draft heads."""
    name = path.rsplit("/", 1)[-1].lower().removesuffix(".gguf")
    is_matrix = name.startswith("imatrix") or name.endswith("imatrix")
    return _is_projector(path) or is_matrix or name.startswith("mtp-")


def _projector_order(path: str) -> tuple[bool, int, str]:
    return names.quantization(path) != "F16", len(path), path


def _known(file: RepoFile) -> dict[str, Any]:
    # What is not kept as a large file has no digest in the list; it is asked for one by one.
    return {"size": file.size, "sha256": file.sha256} if file.sha256 and file.size else {}
