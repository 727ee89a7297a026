"""Options that several commands share, and how flags, settings and the model's own values meet."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from localchat.cli.structure import grammar, json_schema, logit_bias
from localchat.config import Settings
from localchat.presets import PRESETS
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
    ("--preset", "preset", click.Choice(list(PRESETS)), "A named set of the values below."),
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
    (
        "--frequency-penalty",
        "frequency_penalty",
        _FiniteRange(-2, 2),
        "Above 0, makes tokens less likely each time they come.",
    ),
    (
        "--presence-penalty",
        "presence_penalty",
        _FiniteRange(-2, 2),
        "Above 0, makes tokens that have come less likely.",
    ),
    ("--seed", "seed", click.IntRange(0, 2**32 - 1), "Makes the random draw repeatable."),
    ("--max-tokens", "max_tokens", click.IntRange(1), "Tokens of the reply at most."),
    (
        "--json-schema",
        "json_schema",
        json_schema,
        "Answer in JSON of this schema: a file, JSON, or FILE.py:Model (pydantic).",
    ),
    ("--grammar", "grammar", grammar, "Answer as this grammar (GBNF) has it."),
)


def sampling_options(command: _Command) -> _Command:
    """Adds the sampling flags; each arrives as a keyword argument, None if not given."""
    command = click.option(
        "--logit-bias",
        "logit_bias",
        multiple=True,
        type=logit_bias,
        metavar="TOKEN=BIAS",
        callback=lambda ctx, param, value: value or None,
        help="Add BIAS to a token's logit; -inf forbids it. May be repeated.",
    )(command)
    for flag, name, kind, meaning in reversed(_SAMPLING):
        command = click.option(flag, name, type=kind, help=meaning)(command)
    return command


def prompt_options(command: _Command) -> _Command:
    """Adds the words of the prompt, and what goes before them."""
    for decorate in (
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path),
            help="A text file to put before the prompt; may be repeated.",
        ),
        click.option(
            "-s", "--system", metavar="TEXT", help="Instructions that come before the prompt."
        ),
        click.argument("prompt", nargs=-1),
    ):
        command = decorate(command)
    return command


def offline_option(command: _Command) -> _Command:
    return click.option("--offline", is_flag=True, help="Never use the network.")(command)


def sampling_params(
    flags: dict[str, Any], stop: tuple[str, ...], settings: Settings, model: ModelRef
) -> SamplingParams:
    """Whoever spoke last, and most precisely, is heard.

    For each value: its flag, then the preset of `--preset`, then its setting, then the preset of
    the settings, then the model's own default, then ours. So a preset asked for on the command
    line wins over the configuration, and a setting refines the preset that stands beside it.
    """
    chosen: dict[str, Any] = dict(model.sampling)
    names = [field.name for field in fields(SamplingParams)]
    for preset, values in (
        (settings.preset, {name: getattr(settings, name, None) for name in names}),
        (flags.get("preset"), {name: flags.get(name) for name in names}),
    ):
        chosen |= PRESETS[preset] if preset else {}
        chosen |= {name: value for name, value in values.items() if value is not None}
    return SamplingParams(**chosen | {"stop": stop})
