"""What the next turns of a conversation are made with, as one value: shown, changed, stored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from localchat.config import Settings
from localchat.errors import LocalchatError, UsageError
from localchat.paths import Paths
from localchat.presets.folder import find
from localchat.presets.precedence import decide
from localchat.presets.preset import Preset, perhaps
from localchat.session.lasting import resumed
from localchat.tui.chats.bounds import NUMBERS
from localchat.types import ModelRef, OverflowPolicy, ReasoningMode, SamplingParams

REASONING: tuple[ReasoningMode, ...] = get_args(ReasoningMode)
OVERFLOW: tuple[OverflowPolicy, ...] = ("drop", "summarise", "refuse")
NAMES = ("model", "system", "reasoning", *NUMBERS, "overflow")
"""What `parse_setting` takes."""

_UNSET = ("", "default", "unset")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Everything that a user may decide about one conversation."""

    model: str
    system: str | None = None
    """Instructions; empty: none. None: those that the conversation began with, if any."""
    preset: str | None = None
    """The preset that was chosen last. What it says is among the other values already."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What the preset's parameters were filled in with."""
    reasoning: ReasoningMode = "auto"
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """{field of SamplingParams: value}, over the model's own."""
    overflow: OverflowPolicy = "drop"

    def params(self, model: ModelRef) -> SamplingParams:
        """The sampling values for `model`."""
        return SamplingParams(**{**dict(model.sampling), **self.sampling})


def configured(
    settings: Settings,
    places: Paths,
    flags: Mapping[str, Any] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> ChatSettings:
    """What a new conversation begins with; `flags` and `parameters` are as `decide` takes them.

    Raises UsageError, and ConfigError for what files say.
    """
    flags, parameters = flags or {}, parameters or {}
    decided = decide(flags, parameters, settings, places)
    return ChatSettings(
        decided.model,
        decided.system,
        flags.get("preset") or settings.preset,
        parameters,
        decided.reasoning,
        decided.sampling,
        settings.overflow,
    )


def of_conversation(
    stored: Mapping[str, Any], settings: Settings, places: Paths, system: str | None = None
) -> ChatSettings:
    """What a stored conversation goes on with; `system` is what it began with.

    What is not among its stored settings, or makes no sense, is as the configuration has it.
    Raises ConfigError, UsageError.
    """
    found = configured(resumed(settings, stored), places, {"system": ""})
    own = stored.get("system")
    preset, parameters = stored.get("preset"), stored.get("parameters")
    return replace(
        found,
        system=own if isinstance(own, str) else system,
        preset=preset if isinstance(preset, str) else found.preset,
        parameters=_texts(parameters) if isinstance(preset, str) else {},
        sampling=_sampling(found.sampling, stored.get("sampling")),
        overflow=stored["overflow"] if stored.get("overflow") in OVERFLOW else found.overflow,
    )


def to_json(chat: ChatSettings) -> dict[str, Any]:
    """As JSON values, for `of_conversation` and for `localchat.session.lasting.resumed`.

    What is unset is written down too: another configuration does not change it.
    """
    sampling = {"max_tokens": None, **chat.sampling}
    if "stop" in sampling:
        sampling["stop"] = list(sampling["stop"])
    return {
        "model": chat.model,
        "system": chat.system,
        "preset": chat.preset,
        "parameters": dict(chat.parameters),
        "reasoning": chat.reasoning,
        "sampling": sampling,
        "overflow": chat.overflow,
    }


def choose_preset(
    chat: ChatSettings, name: str | None, parameters: Mapping[str, str], places: Paths
) -> ChatSettings:
    """`chat` with what the preset says; without a `name`, without a preset.

    What the preset before it said goes, unless it was changed since. Raises UsageError (there is
    no such preset, or a parameter is missing), ConfigError (its file can't be used).
    """
    chosen = Preset("") if name is None else find(name, places).preset()
    before = Preset("")
    if chat.preset is not None:
        with suppress(LocalchatError):  # its file is gone, or changed: nothing is known to be its
            before = find(chat.preset, places).preset()
    said = None
    with suppress(UsageError):
        said = before.instructions(chat.parameters)
    kept = None if chat.system == said else chat.system
    own = {key: v for key, v in chat.sampling.items() if before.sampling.get(key) != v}
    return replace(
        chat,
        model=chosen.model or chat.model,
        system=kept if chosen.system is None else chosen.instructions(parameters),
        preset=name,
        parameters=dict(parameters),
        reasoning=chosen.reasoning or chat.reasoning,
        sampling={**own, **chosen.sampling},
    )


def parse_setting(chat: ChatSettings, name: str, text: str) -> ChatSettings:
    """`chat` with the setting `name` as `text` says it; "default", or nothing, unsets it.

    Raises UsageError, whose sentence says what the setting must be.
    """
    name, said = name.strip().lower(), text.strip()
    if name == "preset":
        raise UsageError("A preset sets several values at once.", "/preset NAME")
    if name not in NAMES:
        raise UsageError(
            f"There is no setting {name!r}{perhaps(name, NAMES)}.", f"/set {'|'.join(NAMES)} VALUE"
        )
    is_unset = said.lower() in _UNSET
    if name in NUMBERS:
        sampling = {key: value for key, value in chat.sampling.items() if key != name}
        if not is_unset:
            sampling[name] = NUMBERS[name].parse(said)
        return replace(chat, sampling=sampling)
    if name == "system":
        return replace(chat, system=None if is_unset else said)
    if name == "model":
        if is_unset:
            raise UsageError("model must be the name of a model.", "/model NAME")
        return replace(chat, model=said)
    if name == "reasoning":
        return replace(chat, reasoning=_one_of(REASONING, name, said))
    return replace(chat, overflow=_one_of(OVERFLOW, name, said))


def _one_of(words: tuple[Any, ...], name: str, said: str) -> Any:
    """One of the `words`; the first is what holds where nothing is said."""
    if said.lower() in _UNSET:
        return words[0]
    if said.lower() not in words:
        *first, last = words
        raise UsageError(f"{name} must be {', '.join(first)} or {last}.", f"/set {name} {first[0]}")
    return said.lower()


def _sampling(configured: Mapping[str, Any], stored: Any) -> dict[str, Any]:
    """Values that a sampler takes: those of the conversation, or the configuration's."""
    found = dict(configured)
    if isinstance(stored, Mapping):  # `resumed` has seen to those that the command line keeps too
        found |= {key: stored[key] for key in ("max_tokens", "seed", "stop") if key in stored}
    return {key: _value(key, value) for key, value in found.items() if _is_sound(key, value)}


def _value(name: str, value: Any) -> Any:
    return tuple(value) if name == "stop" else value


def _is_sound(name: str, value: Any) -> bool:
    if name in NUMBERS:
        return NUMBERS[name].admits(value)
    if name == "seed":
        return type(value) is int and 0 <= value < 2**32
    return isinstance(value, list | tuple) and all(isinstance(each, str) and each for each in value)


def _texts(found: Any) -> dict[str, str]:
    if not isinstance(found, Mapping):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}
