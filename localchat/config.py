"""Settings: flag, then environment, then config.toml, then default.

Pydantic validates what a person wrote, once: the result is remembered in the cache folder, so that
a warm start, which must not pay for importing pydantic, reads plain JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from localchat import __version__
from localchat.errors import ConfigError
from localchat.modes import KVType, OverflowPolicy, ReasoningMode
from localchat.paths import Paths

_PREFIX = "LOCALCHAT_"
# What other tools that use the hub heed; the values are those that its own library takes for yes.
_HUB_OFFLINE = "HF_HUB_OFFLINE"
_YES = {"1", "ON", "YES", "TRUE"}
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


_T = TypeVar("_T")


def _bounded(default: _T, **bounds: float | str) -> _T:
    """A field with pydantic's bounds, stated without importing pydantic."""
    bounded: Any = field(default=default, metadata=bounds)
    return bounded  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, with its default. Flags of a command come on top."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"use_attribute_docstrings": True}

    model: str = "smollm2-135m"
    """The model to use where none is named: a catalogue name, or the path of a .gguf file."""
    context: int | Literal["auto"] = _bounded("auto", ge=64)
    """Tokens of conversation an engine holds, shared by all its requests; never more than the
    model was trained for. auto: as many as memory allows without crowding others out."""
    kv_type: KVType = "f16"
    """How the context is kept in memory: q8_0 takes half as much as f16, q4_0 a quarter, at some
    cost in quality."""
    gpu_layers: int | Literal["auto"] = _bounded("auto", ge=0)
    """Layers of the model computed on GPUs. auto: all that fit, where llama.cpp was built for
    them."""
    threads: int = _bounded(0, ge=0)
    """Compute threads of an engine, always; 0: they follow what the machine has free, one per
    physical core at most."""
    parallel: int = _bounded(16, ge=1, le=64)
    """Requests that one engine works on together; more wait."""
    keep_alive: float = _bounded(300.0, ge=-1, allow_inf_nan=False)
    """How long an engine stays without clients: seconds, or 90s, 5m, 2h. 0 leaves with the last
    client, -1 stays for good."""
    snapshot_budget: int | None = _bounded(None, ge=0)
    """Disk space for the states of conversations, which spare computing them again: bytes, or
    500MB, 2GB. 0 keeps none; unset: 2 GB or 5% of the free disk, the smaller."""
    draft: str | None = None
    """A smaller model of the same family, which guesses tokens for the model to verify."""
    reasoning: ReasoningMode = "auto"
    """Whether a reasoning model thinks before it answers: on, off, or auto: as its template has
    it."""
    log: bool = True
    """Keep conversations in the history, to find them and go on with them. Off, nothing of them is
    ever written to disk."""
    overflow: OverflowPolicy = "drop"
    """What to do with a conversation that has outgrown the context: drop its oldest turns,
    summarise them, or refuse to go on. Either is said."""
    offline: bool = False
    """Never use the network, not even to download a model that is asked for. HF_HUB_OFFLINE=1
    means it too."""
    max_tokens: int | None = _bounded(None, ge=1)
    """Tokens of a reply at most; unset: as many as the context holds."""
    preset: str | None = _bounded(None, pattern="^[a-z0-9][a-z0-9-]*$")
    """A preset to use always: `localchat presets list` names them. The settings below refine it,
    and so do model and reasoning."""
    temperature: float | None = _bounded(None, ge=0, le=5)
    """Randomness of replies: 0 always takes the likeliest token. Unset, like those below: the
    model's own default."""
    top_p: float | None = _bounded(None, gt=0, le=1)
    """Keep the likeliest tokens that together have this probability."""
    top_k: int | None = _bounded(None, ge=0)
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: float | None = _bounded(None, ge=0, le=1)
    """Drop tokens less likely than this part of the likeliest one's probability."""
    repeat_penalty: float | None = _bounded(None, gt=0)
    """Above 1, makes tokens of the last 64 less likely to come again."""
    frequency_penalty: float | None = _bounded(None, ge=-2, le=2)
    """Above 0, makes tokens less likely each time they come."""
    presence_penalty: float | None = _bounded(None, ge=-2, le=2)
    """Above 0, makes tokens that have come less likely."""
    keys: dict[str, str] | None = None
    """Other keys of the chat screen, in a table of config.toml: [keys], then "chat.new" = "f5". F1
    on the screen shows what they can be given to."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as it stands: its value, where that came from, and what it means."""

    name: str
    value: Any
    source: str
    meaning: str


def load(paths: Paths, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. Raises ConfigError, which names the setting and where it stands."""
    text, variables = _read(paths, environ)
    if not text and not variables:
        return Settings()
    written = json.dumps([__version__, text.decode("utf-8", "replace"), sorted(variables.items())])
    fingerprint = hashlib.sha256(written.encode()).hexdigest()
    cache = paths.cache / "settings.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        remembered = json.loads(cache.read_bytes())
        if remembered["fingerprint"] == fingerprint:
            return Settings(**remembered["settings"])
    settings = _validate(_merge(paths, text, variables))
    with contextlib.suppress(OSError):  # only a later start would be slower
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"fingerprint": fingerprint, "settings": asdict(settings)}))
        temporary.replace(cache)
    return settings


def explain(paths: Paths, environ: Mapping[str, str] = os.environ) -> list[Origin]:
    """Every setting with its origin, in the order of the class. Raises ConfigError."""
    written = _merge(paths, *_read(paths, environ))
    settings = _validate(written)
    return [
        Origin(name, getattr(settings, name), _source(written, name), meaning)
        for name, meaning in meanings().items()
    ]


def meanings() -> dict[str, str]:
    """What each setting means: the text beneath it in `Settings`, on one line."""
    from pydantic import TypeAdapter

    properties = TypeAdapter(Settings).json_schema()["properties"]
    return {name: " ".join(properties[name]["description"].split()) for name in properties}


def _read(paths: Paths, environ: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
    """The text of config.toml, and the variables that set something."""
    try:
        text = paths.config_file.read_bytes()
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise ConfigError(f"{paths.config_file} can't be read: {error.strerror}.") from error
    names = (field.name for field in fields(Settings))
    variables = [_PREFIX + name.upper() for name in names]
    found = {variable: environ[variable] for variable in variables if environ.get(variable)}
    if _PREFIX + "OFFLINE" not in found and environ.get(_HUB_OFFLINE, "").upper() in _YES:
        found[_HUB_OFFLINE] = environ[_HUB_OFFLINE]
    return text, found


def _merge(paths: Paths, text: bytes, variables: dict[str, str]) -> dict[str, tuple[Any, str]]:
    """name: (value as written, where it was written); the environment wins over the file."""
    import tomllib

    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{paths.config_file} is not valid TOML: {error}.") from error
    known = [field.name for field in fields(Settings)]
    for name in table:
        if name not in known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{paths.config_file} has an unknown setting {name!r}"
                + (f"; did you mean {close[0]!r}?" if close else "."),
                "localchat config",
            )
    written = {name: (value, str(paths.config_file)) for name, value in table.items()}
    for variable, value in variables.items():
        name = "offline" if variable == _HUB_OFFLINE else variable.removeprefix(_PREFIX).lower()
        written[name] = (value, variable)
    return written


def _source(written: dict[str, tuple[Any, str]], name: str) -> str:
    return written[name][1] if name in written else "default"


def _validate(written: dict[str, tuple[Any, str]]) -> Settings:
    from pydantic import ByteSize, Field, ValidationError, create_model

    types = get_type_hints(Settings) | {"snapshot_budget": ByteSize | None}
    schema: Any = create_model(
        "Settings",
        **{  # type: ignore[call-overload]
            f.name: (_bound(types[f.name], Field(**f.metadata)), f.default)
            for f in fields(Settings)
        },
    )
    values = {name: value for name, (value, _) in written.items()}
    if "keep_alive" in values:
        values["keep_alive"] = seconds(values["keep_alive"])
    try:
        return Settings(**schema(**values).model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        value, source = written[name]
        raise ConfigError(
            f"The setting {name!r} in {source} can't be {value!r}: {first['msg']}.",
            "localchat config --help",
        ) from error


def _bound(kind: Any, bounds: Any) -> Any:
    """`kind` with pydantic's bounds; of a union, they are the number's."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    bounded = [
        Annotated[m, bounds] if isinstance(m, type) and m is not NoneType else m for m in members
    ]
    return Union[tuple(bounded)]  # noqa: UP007 - | needs the members one by one


def seconds(text: Any) -> Any:
    """'5m' as 300.0; what is no duration comes back as it is, for validation to refuse."""
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    return float(match[1]) * _SECONDS[match[2]] if match else text
