"""What the settings of a chat can be, and what they mean: for whoever shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localchat import config
from localchat.errors import ConfigError
from localchat.paths import Paths
from localchat.presets.folder import Entry, entries
from localchat.registry import installed
from localchat.tui.chats.bounds import NUMBERS
from localchat.types import SamplingParams

_MEANINGS = {
    "preset": "Instructions and values under one name: choosing it fills them in below.",
    "system": "Instructions that come before everything else in the chat. Empty: none.",
    "model": "The model that answers. Further ones are chosen and downloaded with /model.",
}


@dataclass(frozen=True, slots=True)
class PresetOption:
    """One preset."""

    name: str
    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """{parameter: its default}; one whose default is empty must be given."""
    trouble: str = ""
    """Why its file can't be used."""


def presets(places: Paths) -> list[PresetOption]:
    """All of them, by name; those whose files can't be used too."""
    return [_option(entry) for entry in entries(places)]


def own_values(model: str, places: Paths) -> dict[str, float | int | None]:
    """What holds for numbers that are unset: the model's own values, else ours.

    None: there is no limit.
    """
    record = installed.find(model, places)
    own = dict(record.sampling) if record is not None else {}
    return {name: own.get(name, getattr(SamplingParams(), name)) for name in NUMBERS}


def meanings() -> dict[str, str]:
    """What each setting of a chat means, on one line. Imports pydantic."""
    return {**config.meanings(), **_MEANINGS}


def _option(entry: Entry) -> PresetOption:
    try:
        found = entry.preset()
    except ConfigError as error:
        return PresetOption(entry.name, trouble=str(error))
    return PresetOption(entry.name, found.description or "", found.parameters)
