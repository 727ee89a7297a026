"""Takes in model files of this machine: by link, by copy, or by moving them."""

from __future__ import annotations

import datetime
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from localchat import gguf
from localchat.errors import (
    InputError,
    LocalchatError,
    ModelNotFound,
    UsageError,
    VerificationFailed,
)
from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.care import examine, removal
from localchat.registry.catalogue import catalog, names
from localchat.registry.download import Watcher
from localchat.registry.files import blobs, locks, space, verify
from localchat.registry.files.blobs import Taken, Way
from localchat.registry.installed import Record

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(:[a-z0-9_]+)?")
# What files are called in the stores of other tools, which name them by their content.
_DIGEST = re.compile(r"(sha256[-:])?[0-9a-f]{64}")
_PROJECTOR = "clip"  # the architecture of every projector


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
    _check_roles(header, files)
    chosen = checked_name(name or _name(path, header), path)
    draft = Record(
        name=chosen,
        keys=(chosen,),
        parts=(),
        quantization=names.quantization(path.name) or header.quantization or "UNKNOWN",
        origin="import",
        served=str(path.absolute()),
        licence=header.licence or None,
    )
    if _is_taken(chosen, paths):  # said before gigabytes are copied
        identified(draft, tuple(map(verify.sha256, files.weights)), paths)
    return install(draft, files, way, paths, watcher)


def install(
    draft: Record,
    files: Files,
    way: Way,
    paths: Paths,
    watcher: Watcher,
    digests: tuple[str, ...] = (),
) -> Record:
    """Takes files in as the model that `draft` describes. They stay where they are if that fails.

    With `digests`, the files must have these, in the order of `Files.all`.
    Raises VerificationFailed, OutOfSpace, InputError, UsageError.
    """
    folder = make_private(paths.models)
    taken: list[Taken] = []
    try:
        with locks.incoming(folder):
            for each in _take_in(files, way, paths, watcher, digests):
                taken.append(each)
            found = tuple(each.sha256 for each in taken)
            record = identified(draft, found[: len(files.weights)], paths)
            record = _keep(record, found, len(files.weights), paths, watcher)
    except BaseException:
        removal.drop([each.sha256 for each in taken if each.is_new], paths)
        raise
    if way == "move":
        for each in taken:
            try:
                blobs.release(each, paths)
            except OSError as error:
                watcher.note(f"Note: {each.source} could not be removed: {error.strerror}.")
    return record


def checked_name(name: str, path: Path) -> str:
    """`name` in lower case. Raises UsageError if what is at `path` can't be called so."""
    if not _NAME.fullmatch(name.lower()) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"{name!r} can't be a model's name: letters, digits, '.', '-' and '_'.",
            f"localchat models import {shlex.quote(str(path))} --name my-model",
        )
    return name.lower()


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
    known = installed.find(record.name, paths)
    is_same = (
        known is not None
        and record.name in known.keys  # not by an alias, which would go on standing for the other
        and tuple(part.sha256 for part in known.parts) == weights
    )
    if record.origin == "import" and _is_taken(record.name, paths) and not is_same:
        raise UsageError(
            f"{record.name} is the name of another model, and this file is not that model.",
            "the same command with --name ANOTHER-NAME",
        )
    return record


def _take_in(
    files: Files, way: Way, paths: Paths, watcher: Watcher, digests: tuple[str, ...]
) -> Iterator[Taken]:
    sizes = []
    for path in files.all:
        with _reading(path, paths):
            sizes.append(path.stat().st_size)
    is_renamed = way == "move" and files.all[0].stat().st_dev == paths.models.stat().st_dev
    if way != "link" and not is_renamed:
        space.check(
            sum(sizes),
            paths.models,
            "The copy",
            f"localchat models import {shlex.quote(str(files.all[0]))} --link takes none",
        )
    for number, path in enumerate(files.all):

        def progress(read: int, _: int, before: int = sum(sizes[:number])) -> None:
            watcher.progress(before + read, sum(sizes))

        wanted = digests[number] if digests else None
        with _reading(path, paths):
            try:
                yield blobs.take_in(path, way, paths, progress, wanted)
            except ValueError as error:
                raise VerificationFailed(
                    f"{path} is damaged: its sha256 is {error}, not {wanted}.",
                    "copy the bundle again from where it comes from",
                ) from error


def _keep(
    record: Record, digests: tuple[str, ...], num_weights: int, paths: Paths, watcher: Watcher
) -> Record:
    with space.told(paths.models):
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
    """Whether a model of the catalogue, another one that is installed, or an alias is called so."""
    if name in installed.aliases(paths) or installed.find(name, paths) is not None:
        return True
    try:
        catalog.find(name)
    except ModelNotFound:
        return False
    return True


def _weights(path: Path) -> tuple[Path, ...]:
    """The files of the model at `path`, which may be one of several. Raises InputError."""
    _check_regular(path)
    parts = gguf.parts(path)
    for part in parts:
        _check_regular(part)
    if len(parts) > 1 or parts[0].name != path.name:
        expected = int(parts[0].name.rsplit("-of-", 1)[1].removesuffix(".gguf"))
        if len(parts) != expected:
            raise InputError(f"The model is split into {expected} files; {len(parts)} are there.")
    return tuple(parts)


def _check_regular(path: Path) -> None:
    """Raises InputError, with what is wrong with it. A FIFO would wait for a writer."""
    hint = "localchat models import FILE.gguf"
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder without a bundle in it.", hint)
        if path.is_symlink() and not path.exists():
            raise InputError(f"{path} leads to a file that is gone: {path.readlink()}.", hint)
        if not path.exists():
            raise InputError(f"There is no file {path}.", hint)
        if not path.is_file():
            raise InputError(f"{path} is not a regular file.", hint)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error


def _check_roles(header: gguf.Header, files: Files) -> None:
    """Raises UsageError if weights and projector are in each other's place; ModelLoadFailed."""
    if header.architecture == _PROJECTOR:
        raise UsageError(
            f"{files.weights[0].name} is a projector, which goes with a model.",
            f"localchat models import MODEL.gguf --projector {shlex.quote(str(files.weights[0]))}",
        )
    if files.projector is None:
        return
    _check_regular(files.projector)
    if gguf.read_file(files.projector).architecture != _PROJECTOR:
        raise UsageError(f"{files.projector.name} is not a projector: those are for images.")


def _name(path: Path, header: gguf.Header) -> str:
    stem = "" if _DIGEST.fullmatch(path.stem) else path.stem
    return _slug(stem) or _slug(header.name) or _slug(path.stem)


def _slug(text: str) -> str:
    """A name made of any text; what can't be in one becomes a dash."""
    plain = re.sub(r"-\d{5}-of-\d{5}$", "", text.lower())
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._")


@contextmanager
def _reading(path: Path, paths: Paths) -> Iterator[None]:
    """Turns what the system says about `path`, or about the models folder, into sentences."""
    try:
        with space.told(paths.models):
            yield
    except LocalchatError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.filename in {str(path), os.path.realpath(path)}:
            raise InputError(f"{path} can't be used: {cause.strerror}.") from cause
        raise
