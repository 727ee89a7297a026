"""Options that several commands share, and how flags, settings and the model's own values meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from localchat.config import Settings
from localchat.types import ModelRef, SamplingParams

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _FiniteRange(click.FloatRange):
    """Refuses NaN, which is in every range, and infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


_SAMPLING: tuple[tuple[str, str, Any, str], ...] = (
    ("--temp", "temperature", _FiniteRange(0, 5), "Randomness; 0 takes the likeliest token."),
    (
        "--top-p",
        "top_p",
        _FiniteRange(0, 1, min_open=True),
        "Keep tokens up to this probability in sum.",
    ),
    ("--top-k", "top_k", click.IntRange(0), "Keep this many of the likeliest tokens; 0: all."),
    ("--min-p", "min_p", _FiniteRange(0, 1), "Drop tokens below this part of the likeliest."),
    (
        "--repeat-penalty",
        "repeat_penalty",
        _FiniteRange(0, min_open=True),
        "Above 1, makes repetition less likely.",
    ),
    ("--seed", "seed", click.IntRange(0, 2**32 - 1), "Makes the random draw repeatable."),
    ("--max-tokens", "max_tokens", click.IntRange(1), "Tokens of the reply at most."),
)


def sampling_options(command: _Command) -> _Command:
    """Adds the sampling flags; each arrives as a keyword argument, None if not given."""
    for flag, name, kind, meaning in reversed(_SAMPLING):
        command = click.option(flag, name, type=kind, help=meaning)(command)
    return command


def model_option(command: _Command) -> _Command:
    return click.option(
        "-m", "--model", metavar="NAME", help="A model's name, or the path of a .gguf file."
    )(command)


def offline_option(command: _Command) -> _Command:
    return click.option("--offline", is_flag=True, help="Never use the network.")(command)


def sampling_params(
    flags: dict[str, Any], stop: tuple[str, ...], settings: Settings, model: ModelRef
) -> SamplingParams:
    """A flag wins over a setting, a setting over the model's own default, that over ours."""
    chosen: dict[str, Any] = dict(model.sampling)
    for field in fields(SamplingParams):
        for value in (getattr(settings, field.name, None), flags.get(field.name)):
            if value is not None:
                chosen[field.name] = value
    return SamplingParams(**chosen | {"stop": stop})
