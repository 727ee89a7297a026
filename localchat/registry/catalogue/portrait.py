"""All that is known of one model: by the catalogue, the lock file, and its own header."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localchat import gguf
from localchat.errors import LocalchatError, ModelNotFound
from localchat.gguf import Header
from localchat.paths import Paths
from localchat.registry import installed, resolve
from localchat.registry.care import examine
from localchat.registry.catalogue import catalog, names
from localchat.registry.catalogue.catalog import Entry
from localchat.registry.catalogue.listing import count
from localchat.registry.files import blobs
from localchat.registry.installed import Record


@dataclass(frozen=True, slots=True)
class Portrait:
    """None: not known."""

    name: str
    aliases: tuple[str, ...] = ()
    family: str | None = None
    kind: str | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    architecture: str | None = None
    context_length: int | None = None
    """Tokens."""
    quantization: str | None = None
    size: int | None = None
    """Bytes of all files."""
    licence: str | None = None
    licence_note: str | None = None
    note: str | None = None
    modalities: tuple[str, ...] = ()
    thinking: str | None = None
    tools: bool | None = None
    draft: str | None = None
    sampling: dict[str, float | int] = field(default_factory=dict)
    sha256: tuple[str, ...] = ()
    """Of each file."""
    is_pinned: bool | None = None
    sources: tuple[str, ...] = ()
    installed: bool = False
    path: str | None = None
    linked: bool = False
    """Whether the file lies elsewhere."""
    served: str | None = None
    when: str | None = None
    title: str | None = None
    """What the file calls itself."""
    problem: str | None = None
    """Why an installed model's file can't be read."""
    template: str | None = None
    """The chat template in use."""
    template_is_own: bool = True
    """Whether that is the one inside the file, not the catalogue's or a bundle's."""
    template_sha256: str | None = None
    """Of the template inside the file."""
    template_state: str | None = None
    """Of that one. pinned: the one that the manifest knows, or that was there when the model was
    installed. changed: another. unpinned: nobody knows."""

    def rows(self) -> list[tuple[str, str]]:
        """What to show a person, in order: (label, text)."""
        size = f"{self.size / 1e6:,.0f} MB" if self.size else None
        context = f"{self.context_length:,} tokens" if self.context_length else None
        active = f", {self.active_parameters / 1e9:.1f} B active" if self.active_parameters else ""
        weights = f"{count(self.parameters)}{active}" if self.parameters else None
        rows = [
            ("name", self.name),
            ("also", ", ".join(self.aliases)),
            ("family", self.family),
            ("title", self.title),
            ("kind", self.kind),
            ("parameters", weights),
            ("architecture", self.architecture),
            ("context", context),
            ("quantization", self.quantization),
            ("size", size),
            ("licence", self.licence),
            ("", self.licence_note),
            ("note", self.note),
            ("reads", ", ".join(self.modalities)),
            ("thinking", self.thinking),
            ("tools", None if self.tools is None else "yes" if self.tools else "no"),
            ("draft model", self.draft),
            ("sampling", ", ".join(f"{name} {value}" for name, value in self.sampling.items())),
            *(("sha256", digest) for digest in self.sha256),
            ("digest", self._digest()),
            *(("source", source) for source in self.sources),
            ("template", self._template()),
            ("installed", self._installed()),
            ("path", f"{self.path} (a link)" if self.linked else self.path),
            ("problem", self.problem),
        ]
        return [(label, text) for label, text in rows if text]

    def _digest(self) -> str | None:
        if self.is_pinned is None:
            return None
        if self.is_pinned:
            return "pinned"
        return "not pinned: the hub's own word" if self.sha256 else "the hub gives it when pulled"

    def _installed(self) -> str | None:
        if self.when is None:
            return None if self.installed else "no"
        return f"{self.when}, from {self.served}" if self.served else self.when

    def _template(self) -> str | None:
        if not self.installed:
            return None
        own = f"{self.template_sha256[:12]}, " if self.template_sha256 else "none, "
        inside = f"{own}{self.template_state}"
        if not self.template_is_own:
            return f"not the one in the file ({inside})"
        return (
            f"in the file, {inside}"
            if self.template_state == "changed" or self.template
            else "none"
        )


def portray(name: str, paths: Paths) -> Portrait:
    """Everything about the model `name`, or about the GGUF file at a path. Never uses the network.

    Raises ModelNotFound, ModelLoadFailed (a path that is no GGUF file), UsageError.
    """
    name = installed.aliases(paths).get(name.lower(), name)
    parsed = names.parse(name)
    if installed.find(name, paths) is None and isinstance(parsed, names.CatalogueName):
        with suppress(LocalchatError):  # its files may be there without a record: that makes one
            resolve.resolve(name, paths)
    if (record := installed.find(name, paths)) is not None:
        return _of_record(record, paths)
    if isinstance(parsed, names.CatalogueName):
        return Portrait(**_from_manifest(catalog.find(parsed.text)))
    if isinstance(parsed, names.PathName):
        path = Path(resolve.resolve(name, paths).path)
        about = _from_header(gguf.read_file(path, whole=True), None)
        return Portrait(name, installed=True, path=str(path), size=path.stat().st_size, **about)
    raise ModelNotFound(f"The model {name} is not installed.", f"localchat pull {name}")


def _of_record(record: Record, paths: Paths) -> Portrait:
    entry = _entry(record.name)
    known = _from_manifest(entry) if entry else {"name": record.name, "aliases": record.keys[1:]}
    known |= _from_record(record, paths)
    pinned = (entry.manifest.template_sha256 if entry else None) or record.template_sha256
    try:
        header = gguf.read_file(record.path(paths), whole=True)
    except LocalchatError as error:
        return Portrait(**known | {"installed": False, "problem": str(error)})
    about = _from_header(header, pinned)
    if len(record.parts) > 1:
        about["parameters"] = None  # the header counts those of the first file
    known = about | {key: value for key, value in known.items() if value is not None}
    if record.chat_template is not None:
        known |= {"template": record.chat_template, "template_is_own": False}
    return Portrait(**known)


def _entry(name: str) -> Entry | None:
    try:
        return catalog.find(name)
    except ModelNotFound:
        return None


def _from_manifest(entry: Entry) -> dict[str, Any]:
    manifest, file = entry.manifest, entry.file
    files = (*file.blobs, *([manifest.projector] if manifest.projector else []))
    sizes = [blob.size for blob in files]
    return {
        "name": entry.name,
        "aliases": manifest.aliases,
        "family": manifest.family,
        "kind": manifest.kind,
        "parameters": manifest.parameters,
        "active_parameters": manifest.active_parameters,
        "architecture": manifest.architecture,
        "context_length": manifest.context_length,
        "quantization": file.quantization,
        "size": None if None in sizes else sum(size or 0 for size in sizes),
        "licence": manifest.licence,
        "licence_note": manifest.licence_note,
        "note": manifest.note,
        "modalities": manifest.modalities,
        "thinking": manifest.thinking,
        "tools": manifest.tools,
        "draft": manifest.draft,
        "sampling": dict(manifest.sampling.pairs()),
        "sha256": tuple(blob.sha256 for blob in files if blob.sha256),
        "is_pinned": all(blob.pinned for blob in files),
        "sources": tuple(str(source) for blob in files for source in blob.sources),
    }


def _from_record(record: Record, paths: Paths) -> dict[str, Any]:
    return {
        "quantization": record.quantization,
        "size": record.size,
        "licence": record.licence,
        "sha256": tuple(part.sha256 for part in record.all_parts),
        "is_pinned": record.is_pinned,
        "installed": True,
        "path": str(record.path(paths)),
        "linked": blobs.is_linked(record.parts[0].sha256, paths),
        "served": record.served,
        "when": record.when,
        "sampling": dict(record.sampling),
    }


def _from_header(header: Header, pinned: str | None) -> dict[str, Any]:
    digest = examine.digest(header.chat_template)
    state = "unpinned" if pinned is None else "pinned" if digest == pinned else "changed"
    return {
        "title": header.name or None,
        "architecture": header.architecture,
        "parameters": header.parameters or None,
        "context_length": header.context_length or None,
        "quantization": header.quantization,
        "licence": header.licence or None,
        "template": header.chat_template,
        "template_sha256": digest,
        "template_state": state,
    }
