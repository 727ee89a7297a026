"""Takes in model files of this machine: by link, by copy, or by moving them."""

from __future__ import annotations

import datetime
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from localchat import gguf
from localchat.errors import InputError, ModelNotFound, OutOfSpace, UsageError, VerificationFailed
from localchat.paths import Paths, make_private
from localchat.registry import blobs, catalog, download, examine, installed, names, verify
from localchat.registry.blobs import Way
from localchat.registry.download import Watcher
from localchat.registry.installed import Record

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(:[a-z0-9_]+)?")
_MARGIN = 1.05  # of the files' size: room for what the file system itself needs


@dataclass(frozen=True, slots=True)
class Files:
    """What is to be imported."""

    weights: tuple[Path, ...]
    """In their order."""
    projector: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        return (*self.weights, *([self.projector] if self.projector else []))


def import_file(
    path: Path,
    paths: Paths,
    *,
    way: Way,
    name: str | None,
    projector: Path | None,
    watcher: Watcher,
) -> Record:
    """Installs the GGUF file at `path`, with the further ones of a split model.

    A file that is one of the catalogue's, by its digest, gets the catalogue's name and care.
    Raises InputError (no such file), ModelLoadFailed (no GGUF), UsageError (a name that can't be
    used), OutOfSpace, VerificationFailed (damaged weights).
    """
    files = Files(_weights(path), projector)
    header = gguf.read_file(files.weights[0], whole=True)
    chosen = (name or _slug(path.stem) or _slug(header.name)).lower()
    if not _NAME.fullmatch(chosen):
        raise UsageError(
            f"{chosen!r} can't be a model's name: letters, digits, '.', '-' and '_'.",
            f"localchat models import {path} --name my-model",
        )
    record = Record(
        name=chosen,
        keys=(chosen,),
        parts=(),
        quantization=names.quantization(path.name) or header.quantization or "UNKNOWN",
        origin="import",
        served=str(path.absolute()),
        licence=header.licence or None,
    )
    if _is_taken(chosen, paths):  # nothing is moved before it is clear that the name is its own
        identified(record, tuple(map(verify.sha256, files.weights)), paths)
    digests = take_in(files, way, paths, watcher)
    count = len(files.weights)
    record = identified(record, digests[:count], paths)
    return keep(record, digests, count, paths, watcher)


def take_in(
    files: Files, way: Way, paths: Paths, watcher: Watcher, digests: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Puts files into the models folder; their digests, in the order of `Files.all`.

    With `digests`, they must have these. Raises VerificationFailed, OutOfSpace, InputError.
    """
    sizes = [_size(path) for path in files.all]
    if way != "link":
        _check_space(sum(sizes), way, files.all[0], paths)
    found = []
    for number, path in enumerate(files.all):

        def progress(read: int, _: int, before: int = sum(sizes[:number])) -> None:
            watcher.progress(before + read, sum(sizes))

        wanted = digests[number] if digests else None
        with download.as_told(paths.models):
            try:
                found.append(blobs.take_in(path, way, paths, progress, wanted).sha256)
            except ValueError as error:
                raise VerificationFailed(
                    f"{path} is damaged: its sha256 is {error}, not {wanted}.",
                    "make the bundle anew on the machine it comes from: localchat models export",
                ) from error
    return tuple(found)


def identified(record: Record, weights: tuple[str, ...], paths: Paths) -> Record:
    """`record`, as the catalogue has it if files of these digests are one of its models.

    Raises UsageError if they are not, and the name is another model's: nothing that is imported
    may pass for one.
    """
    for entry in catalog.entries():
        if tuple(blob.sha256 for blob in entry.file.blobs) == weights:
            manifest = entry.manifest
            return replace(
                record,
                name=entry.name,
                keys=entry.keys,
                quantization=entry.file.quantization,
                origin="catalogue",
                sources={
                    blob.sha256: [source.model_dump(mode="json") for source in blob.sources]
                    for blob in (*entry.file.blobs, manifest.projector)
                    if blob is not None and blob.sha256
                },
                licence=manifest.licence,
                chat_template=manifest.chat_template,
                sampling=manifest.sampling.pairs(),
            )
    taken = installed.find(record.name, paths)
    is_same = taken is not None and tuple(part.sha256 for part in taken.parts) == weights
    if _is_taken(record.name, paths) and not is_same:
        raise UsageError(
            f"{record.name} is the name of another model, and this file is not that model.",
            "the same command with --name ANOTHER-NAME",
        )
    return record


def keep(
    record: Record, digests: tuple[str, ...], num_weights: int, paths: Paths, watcher: Watcher
) -> Record:
    """Looks at files that came in, and records them as the model that `record` describes.

    Raises VerificationFailed for damaged weights.
    """
    with download.as_told(paths.models):
        parts = tuple(blobs.part(sha256, paths) for sha256 in digests)
        record = replace(
            record,
            parts=parts[:num_weights],
            projector=parts[num_weights] if len(parts) > num_weights else None,
            when=datetime.date.today().isoformat(),
        )
        blobs.lay_out(record.parts, paths)
        record = replace(record, template_sha256=examine.first_look(record, paths, watcher))
        installed.record(record, paths)
    return record


def _is_taken(name: str, paths: Paths) -> bool:
    """Whether a model of the catalogue, or another one that is installed, is called so."""
    try:
        catalog.find(name)
    except ModelNotFound:
        return installed.find(name, paths) is not None
    return True


def _weights(path: Path) -> tuple[Path, ...]:
    """The files of the model at `path`, which may be one of several. Raises InputError."""
    try:
        if not path.is_file():
            what = "a folder without a bundle" if path.is_dir() else "no such file"
            raise InputError(f"{path}: {what}.", "localchat models import FILE.gguf")
        parts = gguf.parts(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    if len(parts) > 1:
        expected = int(parts[0].name.rsplit("-of-", 1)[1].removesuffix(".gguf"))
        if len(parts) != expected:
            raise InputError(f"The model is split into {expected} files; {len(parts)} are there.")
    return tuple(parts)


def _slug(text: str) -> str:
    """A name made of any text; what can't be in one becomes a dash."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return re.sub(r"-\d{5}-of-\d{5}$", "", plain)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error


def _check_space(size: int, way: Way, path: Path, paths: Paths) -> None:
    folder = make_private(paths.models)
    if way == "move" and path.stat().st_dev == folder.stat().st_dev:
        return  # a move within a file system takes no room
    needed, free = int(size * _MARGIN), shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfSpace(
            f"The copy needs {needed / 1e6:,.0f} MB, but {folder} has {free / 1e6:,.0f} MB free.",
            f"localchat models import {path} --link uses the file where it lies",
        )
