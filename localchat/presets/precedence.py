"""How flags, presets, settings and a model's own values meet.

Whoever spoke last, and most precisely, is heard. For each value: its flag, then the preset of
`--preset`, then its setting, then the preset of the settings, then the model's own default, then
ours. So a preset asked for on the command line wins over the configuration, and a setting refines
the preset that stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from localchat.config import Settings
from localchat.errors import ConfigError, UsageError
from localchat.paths import Paths
from localchat.types import ModelRef, ReasoningMode, SamplingParams

if TYPE_CHECKING:
    from localchat.presets.preset import Preset

_SAMPLING = [value.name for value in fields(SamplingParams)]


@dataclass(frozen=True, slots=True)
class Decided:
    """What holds for a request before its model is known."""

    system: str | None
    """Instructions, with a preset's parameters filled in."""
    model: str
    reasoning: ReasoningMode
    sampling: Mapping[str, Any]
    """{field of SamplingParams: value}, over the model's own."""

    def params(self, model: ModelRef) -> SamplingParams:
        """The sampling values for `model`."""
        return SamplingParams(**{**dict(model.sampling), **self.sampling})


def decide(
    flags: Mapping[str, Any], given: Mapping[str, str], settings: Settings, places: Paths
) -> Decided:
    """What flags, presets and settings come to.

    `flags` may name a `preset`, and any value of `Decided` and `SamplingParams`; None is not given.
    `given` are values for the parameters of the preset whose instructions are used. Raises
    UsageError, and ConfigError for what files say.
    """
    asked = _load(flags.get("preset"), places)
    standing = _standing(settings, places)
    heard: dict[str, Any] = {}
    for values in (_values(standing), _written(settings), _values(asked), flags):
        heard |= {name: value for name, value in values.items() if value is not None}
    return Decided(
        _instructions(flags.get("system"), given, asked, standing),
        heard.get("model", settings.model),
        heard.get("reasoning", settings.reasoning),
        {name: heard[name] for name in _SAMPLING if name in heard},
    )


def _standing(settings: Settings, places: Paths) -> Preset | None:
    """The preset of the settings."""
    try:
        return _load(settings.preset, places)
    except ConfigError:  # it is there, and its file is named
        raise
    except UsageError as error:
        message = f"The setting 'preset' can't be {settings.preset!r}: {error}"
        raise ConfigError(message, error.hint) from error


def _load(name: str | None, places: Paths) -> Preset | None:
    if name is None:
        return None
    from localchat.presets.folder import find  # 2 ms, which a command without presets need not pay

    return find(name, places).preset()


def _values(preset: Preset | None) -> dict[str, Any]:
    if preset is None:
        return {}
    return {"model": preset.model, "reasoning": preset.reasoning, **preset.sampling}


def _written(settings: Settings) -> dict[str, Any]:
    """The settings that differ from what holds without any."""
    names = ("model", "reasoning", *_SAMPLING)
    unset = Settings()
    found = {name: (getattr(settings, name, None), getattr(unset, name, None)) for name in names}
    return {name: value for name, (value, default) in found.items() if value != default}


def _instructions(
    system: str | None, given: Mapping[str, str], asked: Preset | None, standing: Preset | None
) -> str | None:
    if system is None:
        for preset in (asked, standing):
            if preset is not None and preset.system is not None:
                return preset.instructions(given)
    if given:
        raise UsageError(
            "-p fills in the instructions of a preset, and none are used.",
            "localchat -t translate -p language=German",
        )
    return system
