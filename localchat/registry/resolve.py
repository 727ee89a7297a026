"""From what the user typed to a model file that is there and verified. Never uses the network.

Warm commands end in `installed.lookup`; the catalogue, and with it pydantic (0.05-0.2 s), is
imported only where that has no answer.
"""

from __future__ import annotations

import datetime
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from localchat import __version__
from localchat.errors import LocalchatError, ModelLoadFailed, ModelNotFound, VerificationFailed
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.catalogue import names
from localchat.registry.files import verify
from localchat.registry.installed import Part, Record
from localchat.types import ModelRef

if TYPE_CHECKING:
    from localchat.registry.catalogue.catalog import Entry
    from localchat.registry.catalogue.manifest import Blob


def resolve(name: str, paths: Paths) -> ModelRef:
    """The model for a name of any kind, or for a path to a GGUF file.

    The result's name is the path as given, or the name that it is installed under.

    Raises ModelNotFound (unknown, or known but not installed), VerificationFailed (an installed
    file has been changed), ModelLoadFailed (the path is not a GGUF file) or UsageError.
    """
    if found := installed.lookup(name, paths):
        return found
    if known := installed.find(name, paths):
        return _checked(known, paths)
    name = installed.aliases(paths).get(name.lower(), name)
    parsed = names.parse(name)
    if isinstance(parsed, names.PathName):
        return _from_path(name)
    if isinstance(parsed, names.CatalogueName):
        from localchat.registry.catalogue import catalog

        entry = catalog.find(parsed.text)
        if found := _unrecorded(entry, paths):
            return found
        name = entry.name
    if isinstance(parsed, names.UrlName):
        from localchat.registry.catalogue import offers

        if page := offers.of_page(parsed.url):
            return resolve(str(page), paths)
    raise ModelNotFound(f"The model {name} is not installed.", f"localchat pull {name}")


def _checked(known: Record, paths: Paths) -> ModelRef:
    """The model after hashing its files, which look different or were verified by another version.

    A newer localchat takes its template and defaults from its own catalogue.
    """
    parts = [_verified(part, known, paths) for part in known.all_parts]
    count = len(known.parts)
    fresh = replace(
        known,
        parts=tuple(parts[:count]),
        projector=parts[count] if known.projector else None,
        version=__version__,
    )
    if known.version != __version__ and known.origin == "catalogue":
        fresh = _up_to_date(fresh)
    _remember(fresh, paths)
    return fresh.model(paths)


def _verified(part: Part, known: Record, paths: Paths) -> Part:
    path = installed.location(part.sha256, paths)
    try:
        seen = verify.stamp(path)
        if seen != part.stamp and not verify.matches(path, part.size, part.sha256):
            raise VerificationFailed(
                f"The file of the model {known.name} has changed since it was installed.",
                f"localchat models repair {known.name}",
            )
    except FileNotFoundError:
        where = path.readlink() if path.is_symlink() else path
        raise ModelNotFound(
            f"The file of the model {known.name} is gone: {where}.", f"localchat pull {known.name}"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    return Part(part.sha256, seen)


def _up_to_date(record: Record) -> Record:
    from localchat.registry.catalogue import catalog

    try:
        manifest = catalog.find(record.name).manifest
    except LocalchatError:  # the catalogue has dropped it; what is installed goes on
        return record
    return replace(record, chat_template=manifest.chat_template, sampling=manifest.sampling.pairs())


def _unrecorded(entry: Entry, paths: Paths) -> ModelRef | None:
    """A model of the catalogue whose files are there, though the lock file does not say so."""
    file, manifest = entry.file, entry.manifest
    parts = []
    for blob in file.blobs:
        if (part := _unrecorded_part(blob, paths)) is None:
            return None
        parts.append(part)
    known = list(file.blobs)
    projector = None
    if manifest.projector and (projector := _unrecorded_part(manifest.projector, paths)):
        known.append(manifest.projector)
    record = Record(
        name=entry.name,
        keys=entry.keys,
        parts=tuple(parts),
        projector=projector,
        quantization=file.quantization,
        when=datetime.date.today().isoformat(),
        licence=manifest.licence,
        chat_template=manifest.chat_template,
        sampling=manifest.sampling.pairs(),
        sources={
            blob.sha256 or "": [source.model_dump(mode="json") for source in blob.sources]
            for blob in known
        },
    )
    _remember(record, paths)
    return record.model(paths)


def _unrecorded_part(blob: Blob, paths: Paths) -> Part | None:
    """A file of the catalogue, if it is there and right."""
    if blob.sha256 is None or blob.size is None:
        return None
    path = installed.location(blob.sha256, paths)
    try:
        seen = verify.stamp(path)
        is_right = verify.matches(path, blob.size, blob.sha256)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    return Part(blob.sha256, seen) if is_right else None


def _remember(record: Record, paths: Paths) -> None:
    """A models folder that can't be written to, or a full disk, must not stop a chat."""
    try:
        # Imported here: a warm start, which remembers nothing new, does without.
        from localchat.registry.files import blobs

        blobs.lay_out(record.parts, paths)
        installed.record(record, paths)
    except (OSError, LocalchatError):
        return


def _unreadable(path: Path, error: OSError) -> ModelLoadFailed:
    return ModelLoadFailed(f"{path} can't be read: {error.strerror}.", f"chmod u+r {path}")


def _from_path(given: str) -> ModelRef:
    try:
        path = Path(given).expanduser().resolve(strict=True)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _not_a_model(given, "is a folder")
        # Asked before opening: a FIFO would wait for a writer.
        if not stat.S_ISREG(mode):
            raise _not_a_model(given, "is not a regular file")
        with path.open("rb") as file:
            magic = file.read(4)
    # RuntimeError: a loop of links, or ~ without a home. ValueError: a NUL.
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError) as error:
        raise ModelNotFound(f"There is no file {given!r}.", "localchat models list") from error
    except OSError as error:
        raise _not_a_model(given, f"can't be read ({error.strerror})") from error
    if magic != b"GGUF":
        raise _not_a_model(given, "is not a GGUF file" if magic else "is empty")
    return ModelRef(name=given, path=str(path))


def _not_a_model(given: str, why: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"{given!r} {why}: it can't be loaded.", "localchat models list")
