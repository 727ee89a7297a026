"""One preset, and what its file may say.

Checked by hand: a warm command with a preset pays for parsing TOML (4 ms), not for pydantic (50 ms
and more). The bounds of the sampling values are those of the settings of the same names.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from localchat.config import Settings
from localchat.errors import ConfigError, UsageError
from localchat.types import ReasoningMode, SamplingParams

_PARAMETER = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset sets; what it leaves open is decided elsewhere, see `precedence`."""

    name: str
    description: str | None = None
    """What it is for, in one line."""
    system: str | None = None
    """Instructions that come before the prompt; `{name}` stands for a parameter's value."""
    model: str | None = None
    """A model as `--model` takes it."""
    reasoning: ReasoningMode | None = None
    """Whether a reasoning model thinks first."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """{field of SamplingParams: value}"""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """{parameter: its default}; one whose default is empty must be given."""

    def instructions(self, given: Mapping[str, str]) -> str | None:
        """`system` with the parameters filled in. Raises UsageError for unknown and missing ones.

        Only parameters that the preset declares are filled in; other braces are text.
        """
        for name in given:
            if name not in self.parameters:
                raise UsageError(
                    f"The preset {self.name} has no parameter {name!r}"
                    f"{perhaps(name, self.parameters)}.",
                    f"localchat presets show {self.name}",
                )
        values = {**self.parameters, **given}
        for name, value in values.items():
            if not value:
                raise UsageError(
                    f"The preset {self.name} needs the parameter {name!r}.",
                    f"localchat -t {self.name} -p {name}=…",
                )
        if self.system is None or not values:
            return self.system
        # All at once: what looks like a parameter inside a value is text.
        return re.sub(rf"{{({'|'.join(values)})}}", lambda match: values[match[1]], self.system)


def parse(name: str, data: bytes, origin: str) -> Preset:
    """The preset that a file says. Raises ConfigError, which says what is wrong in `origin`."""
    import tomllib

    try:
        return _preset(name, tomllib.loads(data.decode("utf-8")))
    except _Fault as error:
        fault = f"can't be used: {error}"
    except ValueError as error:  # of tomllib, of UTF-8, and of numbers with thousands of digits
        fault = f"is not valid TOML: {error}"
    raise ConfigError(f"{origin} {fault}.", f"localchat presets edit {name}")


def check_sampling(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling values as a preset may have them under [sampling]. Raises UsageError."""
    try:
        return _sampling("sampling", dict(values))
    except _Fault as error:
        raise UsageError(f"These sampling values can't be used: {error}.") from error


def perhaps(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is none: which known one may be meant."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; perhaps {close[0]!r} is meant" if close else ""


class _Fault(ValueError):
    """What is wrong in a preset, as the end of a sentence."""


def _preset(name: str, table: dict[str, Any]) -> Preset:
    for key in table:
        if key in _SAMPLING:
            raise _Fault(f"{key!r} belongs under [sampling]")
    _refuse_unknown(table, _FIELDS, "setting")
    found = Preset(name, **{key: _FIELDS[key](key, value) for key, value in table.items()})
    for parameter in found.parameters:
        if f"{{{parameter}}}" not in (found.system or ""):
            raise _Fault(f"its 'system' says nothing about {{{parameter}}}, a parameter")
    return found


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{name!r} must be a text, not {value!r}")
    return value.strip()


def _line(name: str, value: Any) -> str:
    return " ".join(_text(name, value).split())


def _model(name: str, value: Any) -> str:
    if not _text(name, value):
        raise _Fault(f"{name!r} names no model")
    return _text(name, value)


def _reasoning(name: str, value: Any) -> str:
    modes = get_args(ReasoningMode)
    if value not in modes:
        raise _Fault(f"{name!r} must be one of {', '.join(modes)}, not {value!r}")
    return _text(name, value)


def _sampling(name: str, value: Any) -> dict[str, Any]:
    table = _table(name, value)
    _refuse_unknown(table, _SAMPLING, "sampling value")
    return {key: _SAMPLING[key](key, each) for key, each in table.items()}


def _parameters(name: str, value: Any) -> dict[str, str]:
    table = _table(name, value)
    for key in table:
        if not _PARAMETER.fullmatch(key):
            raise _Fault(f"{key!r} can't be a parameter: lower-case letters, digits and '_'")
    return {key: _text(key, each) for key, each in table.items()}


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Fault(f"{name!r} must be a table: [{name}]")
    return value


def _stop(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(text and isinstance(text, str) for text in value):
        raise _Fault(f"{name!r} must be a list of texts, not {value!r}")
    return tuple(value)


def _refuse_unknown(table: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for key in table:
        if key not in known:
            raise _Fault(f"there is no {what} {key!r}{perhaps(key, known)}")


def _number(bounds: Mapping[str, Any], *, is_whole: bool) -> Callable[[str, Any], float]:
    """A check for a number within `bounds`: `ge`, `gt` and `le`, as in `Settings`."""
    low, high = bounds.get("ge", bounds.get("gt", -math.inf)), bounds.get("le", math.inf)
    limits = [f"at least {low}"] if "ge" in bounds else [f"above {low}"]
    limits += [f"at most {high}"] if "le" in bounds else []
    wanted = f"a {'whole ' * is_whole}number, {' and '.join(limits)}"

    def check(name: str, value: Any) -> float:
        if (
            not isinstance(value, int if is_whole else (int, float))
            or isinstance(value, bool)
            or not abs(value) <= sys.float_info.max  # nor NaN
            or not low <= value <= high
            or ("gt" in bounds and value == low)
        ):
            raise _Fault(f"{name!r} must be {wanted}, not {value!r}")
        return int(value) if is_whole else float(value)

    return check


def _numbers() -> dict[str, Callable[[str, Any], Any]]:
    """Checks for the sampling values that are settings too."""
    types = get_type_hints(Settings)
    names = {value.name for value in fields(SamplingParams)}
    return {
        setting.name: _number(setting.metadata, is_whole=int in get_args(types[setting.name]))
        for setting in fields(Settings)
        if setting.name in names
    }


_SAMPLING = _numbers() | {"seed": _number({"ge": 0, "le": 2**32 - 1}, is_whole=True), "stop": _stop}
_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "description": _line,
    "system": _text,
    "model": _model,
    "reasoning": _reasoning,
    "sampling": _sampling,
    "parameters": _parameters,
}
