"""Carries a model to a machine without a network: a folder that proves itself.

model.json            what it is, and the digest of each file
NAME.gguf ...         the weights, and the projector
chat_template.jinja   the template inside the file, to read
LICENCE.txt           what its makers allow
SHA256SUMS            for `sha256sum -c`
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from localchat import gguf
from localchat.errors import InputError, LocalchatError, OutOfSpace, UsageError, VerificationFailed
from localchat.paths import Paths
from localchat.registry import imports, installed
from localchat.registry.blobs import Way
from localchat.registry.download import Watcher
from localchat.registry.imports import Files
from localchat.registry.installed import Part, Record
from localchat.registry.manifest import Quantization, Sampling, Sha256, Text

ABOUT = "model.json"
_FORMAT = 1
_LONGEST = 2**22  # bytes of model.json
_BLOCK = 2**20
_MARGIN = 1.05

_FileName = Annotated[str, StringConstraints(pattern=r"\A[\w+-][\w.+-]*\.gguf\z", max_length=200)]
_Key = Annotated[str, StringConstraints(pattern=r"\A[\x21-\x7e]+\z", max_length=300)]


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

    format: Annotated[int, Field(ge=_FORMAT, le=_FORMAT)]
    name: _Key
    """As it was called where it comes from."""
    quantization: Quantization
    licence: Text | None
    licence_note: Text | None
    chat_template: str | None
    """In place of the one inside the file."""
    sampling: Sampling
    sources: dict[Sha256, list[dict[str, Any]]] | None
    """Where each file can be had again."""
    weights: Annotated[tuple[BundledFile, ...], Field(min_length=1)]
    """In their order."""
    projector: BundledFile | None

    @property
    def files(self) -> tuple[BundledFile, ...]:
        return (*self.weights, *([self.projector] if self.projector else []))


def export(record: Record, folder: Path, paths: Paths, watcher: Watcher) -> Bundle:
    """Writes a bundle of an installed model into `folder`, which is made and must be empty.

    Every byte is hashed on the way: a damaged model is not carried away.
    Raises UsageError (the folder is in use), VerificationFailed, OutOfSpace, LocalchatError.
    """
    bundle = _describe(record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} is not empty.", f"localchat models export {record.name} ANOTHER-FOLDER"
            )
        _check_space(record.size, folder)
        done = 0
        for part, file in zip(record.all_parts, bundle.files, strict=True):
            _copy(part, folder / file.name, record, paths, watcher, done)
            done += part.size
        template = gguf.read_file(record.path(paths), whole=True).chat_template
        if template is not None:
            _write(folder / "chat_template.jinja", template)
        _write(folder / "LICENCE.txt", _licence(bundle))
        _write(folder / ABOUT, bundle.model_dump_json(indent=1) + "\n")
        _write(folder / "SHA256SUMS", _sums(folder, bundle))
    except OSError as error:
        raise LocalchatError(f"{folder} can't be written to: {error.strerror}.") from error
    return bundle


def import_bundle(
    folder: Path, paths: Paths, *, way: Way, name: str | None, watcher: Watcher
) -> Record:
    """Installs the model of a bundle, whose files must be what it says.

    It gets the name it had, if nothing else is called so. Raises InputError, VerificationFailed,
    UsageError, OutOfSpace.
    """
    bundle = _read(folder)
    files = [_find(folder, file) for file in bundle.files]
    digests = tuple(file.sha256 for file in bundle.files)
    count = len(bundle.weights)
    split = Files(tuple(files[:count]), files[count] if bundle.projector else None)
    chosen = (name or bundle.name).lower()
    record = Record(
        name=chosen,
        keys=(chosen,),
        parts=(),
        quantization=bundle.quantization,
        origin="import",
        sources=bundle.sources,
        served=str(folder.absolute()),
        licence=bundle.licence,
        chat_template=bundle.chat_template,
        sampling=bundle.sampling.pairs(),
    )
    record = imports.identified(record, digests[:count], paths)
    imports.take_in(split, way, paths, watcher, digests)
    return imports.keep(record, digests, count, paths, watcher)


def is_bundle(folder: Path) -> bool:
    return (folder / ABOUT).is_file()


def _describe(record: Record) -> Bundle:
    stem = re.sub(r"[^\w.+-]+", "-", record.name).strip(".-")
    names = (
        [f"{stem}.gguf"]
        if len(record.parts) == 1
        else [
            f"{stem}-{number:05}-of-{len(record.parts):05}.gguf"
            for number in range(1, len(record.parts) + 1)
        ]
    )

    def described(name: str, part: Part) -> BundledFile:
        return BundledFile(name=name, size=part.size, sha256=part.sha256)

    return Bundle(
        format=_FORMAT,
        name=record.name,
        quantization=record.quantization,
        licence=record.licence,
        licence_note=_licence_note(record),
        chat_template=record.chat_template,
        sampling=Sampling.model_validate(dict(record.sampling)),
        sources=record.sources,
        weights=tuple(map(described, names, record.parts)),
        projector=described(f"mmproj-{stem}.gguf", record.projector) if record.projector else None,
    )


def _licence_note(record: Record) -> str | None:
    from localchat.registry import catalog

    if record.origin != "catalogue":
        return None
    try:
        return catalog.find(record.name).manifest.licence_note
    except LocalchatError:  # the catalogue has dropped it
        return None


def _licence(bundle: Bundle) -> str:
    known = bundle.licence or "Its makers' licence is not known to localchat: ask them."
    return f"{bundle.name}\n\nLicence: {known}\n" + (
        f"{bundle.licence_note}\n" if bundle.licence_note else ""
    )


def _copy(
    part: Part, target: Path, record: Record, paths: Paths, watcher: Watcher, before: int
) -> None:
    digest, done = hashlib.sha256(), before
    source = installed.location(part.sha256, paths)
    with source.open("rb", buffering=0) as file, target.open("xb") as out:
        while data := file.read(_BLOCK):
            digest.update(data)
            out.write(data)
            done += len(data)
            watcher.progress(done, record.size)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != part.sha256:
        target.unlink()
        raise VerificationFailed(
            f"The file of {record.name} is damaged; it was not exported.",
            f"localchat models repair {record.name}",
        )


def _sums(folder: Path, bundle: Bundle) -> str:
    known = {file.name: file.sha256 for file in bundle.files}
    others = [path for path in sorted(folder.iterdir()) if path.name not in known]
    known |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in others}
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(known.items()))


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path) -> Bundle:
    about = folder / ABOUT
    try:
        if about.stat().st_size > _LONGEST:
            raise InputError(f"{about} is too long to be what it should be.")
        return Bundle.model_validate_json(about.read_bytes())
    except OSError as error:
        raise InputError(f"{about} can't be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise InputError(
            f"{about} does not describe a model: {where}: {first['msg']}.",
            "make the bundle anew on the machine it comes from: localchat models export",
        ) from error


def _find(folder: Path, file: BundledFile) -> Path:
    path = folder / file.name
    if not path.is_file():
        raise VerificationFailed(f"The bundle lacks its file {file.name}.")
    if path.stat().st_size != file.size:
        raise VerificationFailed(
            f"{path} has {path.stat().st_size:,} bytes, not {file.size:,}: it is not whole.",
            "copy the bundle again",
        )
    return path


def _check_space(size: int, folder: Path) -> None:
    needed, free = int(size * _MARGIN), shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"The bundle needs {needed / 1e6:,.0f} MB, but {folder} has {free / 1e6:,.0f} MB free."
        )
