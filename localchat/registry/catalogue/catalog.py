"""Finds a model by name in the catalogue that comes with localchat. Reads manifests only.

Imports pydantic (through `manifest`): off the warm path, see `installed`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from localchat.errors import ConfigError, ModelNotFound
from localchat.registry.catalogue.folder import folder
from localchat.registry.catalogue.manifest import Manifest, ModelFile


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of one model: what a name stands for."""

    manifest: Manifest
    file: ModelFile

    @property
    def name(self) -> str:
        """The shortest name that means this file: NAME, or NAME:QUANT for a later file."""
        return self.keys[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """Every name that means this file, in lower case."""
        names = (self.manifest.name, *self.manifest.aliases)
        tagged = tuple(f"{name}:{self.file.quantization.lower()}" for name in names)
        return names + tagged if self.file is self.manifest.files[0] else tagged


def load() -> tuple[Manifest, ...]:
    """All manifests, by name. Raises ConfigError if one can't be read or is not valid."""
    return tuple(_read(path) for path in sorted(folder().glob("*.toml")))


def entries() -> tuple[Entry, ...]:
    """Every file of every model."""
    return tuple(Entry(manifest, file) for manifest in load() for file in manifest.files)


def find(name: str) -> Entry:
    """The entry for a name or an alias, `:QUANT` optional, in any case.

    Raises ModelNotFound, which names the nearest names there are.
    """
    by_key = {key: entry for entry in entries() for key in entry.keys}
    wanted = name.lower()
    if wanted in by_key:
        return by_key[wanted]
    model = wanted.partition(":")[0]
    if any(key.startswith(f"{model}:") for key in by_key):
        near = [key for key in by_key if key.startswith(f"{model}:")]
    else:
        near = get_close_matches(model, [key for key in by_key if ":" not in key])
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    # repr: the name is the user's text and may hold control characters.
    raise ModelNotFound(f"There is no model called {name!r}.{meant}", "localchat models list")


def _read(path: Path) -> Manifest:
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(
            f"The manifest {path} can't be used: {error}", "compare it with models/README.md"
        ) from error
