"""Carries a model to a machine without a network: a folder that proves itself.

model.json            what it is, and the digest of each file; written last
NAME.gguf ...         the weights, and the projector
chat_template.jinja   the template inside the file, to read
LICENCE.txt           what its makers allow
SHA256SUMS            for `sha256sum -c`

A bundle may be anybody's: nothing in it becomes a path, and only regular files of its folder are
read.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from localchat.errors import (
    InputError,
    ModelNotFound,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import imports
from localchat.registry.care.imports import Files
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.manifest import Quantization, Sampling, Sha256, Source, Text
from localchat.registry.download import Watcher
from localchat.registry.files.blobs import Way
from localchat.registry.installed import Record

ABOUT = "model.json"
"""The name of the file that makes a folder a bundle."""
FORMAT = 1
"""Of that file."""
_LONGEST = 2**22  # bytes of model.json
_MOST_FILES = 1000

_FileName = Annotated[str, StringConstraints(pattern=r"\A[\w+-][\w.+-]*\.gguf\z", max_length=200)]
_Key = Annotated[str, StringConstraints(pattern=r"\A\w[\x21-\x7e]*\z", max_length=300)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundledFile(_Strict):
    """One file of the bundle."""

    name: _FileName
    size: Annotated[int, Field(gt=0)]
    """Bytes."""
    sha256: Sha256


class Bundle(_Strict):
    """What model.json holds."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    name: _Key
    """As it was called where it comes from."""
    quantization: Quantization
    licence: Text | None
    licence_note: Text | None
    chat_template: str | None
    """In place of the one inside the file."""
    sampling: Sampling
    sources: dict[Sha256, tuple[Source, ...]] | None
    """Where each file can be had again."""
    weights: Annotated[tuple[BundledFile, ...], Field(min_length=1, max_length=_MOST_FILES)]
    """In their order."""
    projector: BundledFile | None

    @field_validator("name")
    @classmethod
    def _is_no_path(cls, name: str) -> str:
        # Installed names come before paths: it would be found in the place of that file.
        is_address = name.startswith(("hf:", "http://", "https://"))
        if ".." in name or (not is_address and re.search(r"/.*/|\.gguf\Z", name.lower())):
            raise ValueError("it is a path")
        return name

    @model_validator(mode="after")
    def _files_differ(self) -> Bundle:
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError("two files have the same name")
        return self

    @property
    def files(self) -> tuple[BundledFile, ...]:
        return (*self.weights, *([self.projector] if self.projector else []))


def import_bundle(
    folder: Path, paths: Paths, *, way: Way, name: str | None, watcher: Watcher
) -> Record:
    """Installs the model of a bundle, whose files must be what it says.

    It gets the name it had, if nothing else is called so. Raises InputError, VerificationFailed,
    UsageError, OutOfSpace.
    """
    bundle = _read(folder)
    weights = tuple(_find(folder, file) for file in bundle.weights)
    files = Files(weights, _find(folder, bundle.projector) if bundle.projector else None)
    digests = tuple(file.sha256 for file in bundle.files)
    chosen = imports.checked_name(name, folder) if name else bundle.name
    draft = Record(
        name=chosen,
        keys=(chosen.lower(),),
        parts=(),
        quantization=bundle.quantization,
        origin="import",
        sources=bundle.model_dump(mode="json")["sources"],
        served=str(folder.absolute()),
        licence=bundle.licence,
        chat_template=bundle.chat_template,
        sampling=bundle.sampling.pairs(),
    )
    draft = _by_its_word(draft, digests, paths, watcher)
    # Said before gigabytes are copied, if the name is another model's.
    draft = imports.identified(draft, digests[: len(weights)], paths)
    record = imports.install(draft, files, way, paths, watcher, digests)
    if record.chat_template is not None and record.origin == "import":
        watcher.note(
            f"Note: the bundle has a chat template of its own, in place of the one in the file"
            f" (localchat models show {record.name} --template)."
        )
    return record


def _by_its_word(draft: Record, digests: tuple[str, ...], paths: Paths, watcher: Watcher) -> Record:
    """`draft` as a model of the catalogue, if it is called like one whose bytes nobody pinned."""
    try:
        entry = catalog.find(draft.name)
    except ModelNotFound:
        return draft
    known = installed.find(draft.name, paths)
    if all(blob.pinned for blob in entry.file.blobs) or (
        known is not None and known.parts[0].sha256 != digests[0]
    ):
        return draft
    watcher.note(
        f"Note: the catalogue does not pin {entry.name}: that this is it is the bundle's word."
    )
    return replace(
        draft,
        name=entry.name,
        keys=entry.keys,
        origin="catalogue",
        is_pinned=False,
        licence=entry.manifest.licence,
        chat_template=entry.manifest.chat_template,
        sampling=entry.manifest.sampling.pairs(),
    )


def is_bundle(folder: Path) -> bool:
    """Whether there is something in `folder` that describes a model."""
    return folder.is_dir() and os.path.lexists(folder / ABOUT)


def _read(folder: Path) -> Bundle:
    about = folder / ABOUT
    try:
        _check_regular(about)
        with about.open("rb") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise InputError(f"{about} can't be read: {error.strerror}.") from error
    if len(text) > _LONGEST:
        raise InputError(f"{about} is too long to be what it should be.")
    try:
        return Bundle.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise InputError(
            f"{about} does not describe a model: {where}: {first['msg']}.",
            "make the bundle anew on the machine it comes from: localchat models export",
        ) from error


def _find(folder: Path, file: BundledFile) -> Path:
    path = folder / file.name
    try:
        size = _check_regular(path)
    except FileNotFoundError as error:
        raise VerificationFailed(
            f"The bundle lacks its file {file.name}.", "copy the bundle again"
        ) from error
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    if size != file.size:
        raise VerificationFailed(
            f"{path} has {size:,} bytes, not {file.size:,}: it is not whole.",
            "copy the bundle again",
        )
    return path


def _check_regular(path: Path) -> int:
    """The size of a file. Raises InputError for what only leads to one; OSError."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is not a regular file: it can't be part of a bundle.")
    return found.st_size
