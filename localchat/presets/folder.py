"""Where presets are, and whose: shipped with localchat, or the user's own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localchat.errors import ConfigError, UsageError
from localchat.paths import Paths, make_private
from localchat.presets.preset import Preset, parse, perhaps

_SHIPPED = Path(__file__).parent
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A preset's file. Nothing is known yet of what it says."""

    name: str
    path: Path
    is_own: bool
    """Whether it is a file of the user's."""
    is_shipped: bool
    """Whether one of this name ships; an own one takes its place."""

    @property
    def source(self) -> Literal["own", "shipped"]:
        return "own" if self.is_own else "shipped"

    def read(self) -> bytes:
        """The file as it is. Raises ConfigError."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.path} can't be read: {error.strerror}.") from error

    def preset(self) -> Preset:
        """What the file says. Raises ConfigError, which says what is wrong in it."""
        return parse(self.name, self.read(), str(self.path))


def find(name: str, places: Paths) -> Entry:
    """The preset of that name, the user's before the shipped one. Raises UsageError."""
    own, shipped = own_path(name, places), _SHIPPED / f"{name}.toml"
    is_own, is_shipped = os.path.lexists(own), shipped.exists()
    if not is_own and not is_shipped:
        known = [entry.name for entry in entries(places)]
        raise UsageError(
            f"There is no preset {name!r}{perhaps(name, known)}.", "localchat presets list"
        )
    return Entry(name, own if is_own else shipped, is_own, is_shipped)


def entries(places: Paths) -> list[Entry]:
    """All presets, by name. Files whose names can't be a preset's are left alone."""
    names = {
        path.stem
        for folder in (_SHIPPED, places.presets)
        for path in folder.glob("*.toml")
        if _NAME.fullmatch(path.stem)
    }
    return [find(name, places) for name in sorted(names)]


def own_path(name: str, places: Paths) -> Path:
    """Where the user's preset of that name is, or would be. Raises UsageError for no name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a preset: lower-case letters, digits and '-', 64 at most.",
            "localchat presets list",
        )
    return places.presets / f"{name}.toml"


def write_own(name: str, data: bytes, places: Paths) -> Path:
    """Makes a file of the user's that no one else may read. Raises FileExistsError, UsageError."""
    path = own_path(name, places)
    if not places.presets.is_dir():  # a link to a folder elsewhere is the user's choice
        make_private(places.presets)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
