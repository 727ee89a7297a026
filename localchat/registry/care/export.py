"""Writes an installed model into a folder, to be carried to a machine without a network."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from localchat import gguf
from localchat.errors import (
    LocalchatError,
    ModelLoadFailed,
    ModelNotFound,
    UsageError,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care.bundle import ABOUT, FORMAT, Bundle, BundledFile
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.manifest import Sampling
from localchat.registry.download import Watcher
from localchat.registry.files import space
from localchat.registry.files.partial import sync_folder
from localchat.registry.installed import Part, Record

_BLOCK = 2**20


def export(record: Record, folder: Path, paths: Paths, watcher: Watcher) -> Bundle:
    """Writes a bundle of an installed model into `folder`, which is made and must be empty.

    Every byte is hashed on the way: a damaged model is not carried away, and what was written of it
    is removed again. Raises UsageError (the folder is in use), VerificationFailed, ModelNotFound
    (a file is gone), OutOfSpace, LocalchatError.
    """
    bundle = _describe(record)
    elsewhere = f"localchat models export {record.name} FOLDER-ON-ANOTHER-DISK"
    with space.told(folder, elsewhere), _made(folder, record):
        space.check(record.size, folder, "The bundle", elsewhere)
        done = 0
        for part, file in zip(record.all_parts, bundle.files, strict=True):
            _copy(part, folder / file.name, record, paths, watcher, done)
            done += part.size
        texts = {"LICENCE.txt": _licence(bundle), ABOUT: bundle.model_dump_json(indent=1) + "\n"}
        with suppress(ModelLoadFailed):
            first = installed.location(record.parts[0].sha256, paths)
            if (template := gguf.read_file(first, whole=True).chat_template) is not None:
                texts["chat_template.jinja"] = template
        digests = {file.name: file.sha256 for file in bundle.files}
        digests |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        texts["SHA256SUMS"] = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
        about = texts.pop(ABOUT)
        for name, text in texts.items():
            _write(folder / name, text)
        sync_folder(folder)
        _write(folder / ABOUT, about)
        sync_folder(folder)
    return bundle


@contextmanager
def _made(folder: Path, record: Record) -> Iterator[None]:
    """Makes `folder`; whatever ends the block early, nothing in it is left."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty.", f"localchat models export {record.name} ANOTHER-FOLDER"
        )
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in folder.iterdir():
                path.unlink()
            if is_new:
                folder.rmdir()
        raise


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

    try:
        return Bundle(
            format=FORMAT,
            name=record.name,
            quantization=record.quantization,
            licence=record.licence,
            licence_note=_licence_note(record),
            chat_template=record.chat_template,
            sampling=Sampling.model_validate(dict(record.sampling)),
            sources=_sources(record),
            weights=tuple(map(described, names, record.parts)),
            projector=described(f"mmproj-{stem}.gguf", record.projector)
            if record.projector
            else None,
        )
    except ValidationError as error:
        raise LocalchatError(
            f"What the lock file says of {record.name} can't be put into a bundle.",
            f"localchat pull {record.name}, which writes it anew",
        ) from error


def _sources(record: Record) -> dict[str, Any] | None:
    """Of the model's own files: the lock file may know more, from the catalogue."""
    digests = {part.sha256 for part in record.all_parts}
    known = {sha256: found for sha256, found in (record.sources or {}).items() if sha256 in digests}
    return known or None


def _licence_note(record: Record) -> str | None:
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
    try:
        source = installed.location(part.sha256, paths).open("rb", buffering=0)
    except OSError as error:
        raise ModelNotFound(
            f"The file of {record.name} can't be read: {error.strerror}.",
            f"localchat models repair {record.name}",
        ) from error
    with source, target.open("xb") as out:
        while data := source.read(_BLOCK):
            digest.update(data)
            out.write(data)
            done += len(data)
            watcher.progress(min(done, record.size), record.size)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != part.sha256:
        raise VerificationFailed(
            f"The file of {record.name} is damaged; it was not exported.",
            f"localchat models repair {record.name}",
        )


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
