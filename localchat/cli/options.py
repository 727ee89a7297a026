"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from localchat.cli.structure import grammar, json_schema, logit_bias

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
)

_FORM: tuple[tuple[str, str, Any, str], ...] = (
    (
        "--json-schema",
        "json_schema",
        json_schema,
        "Answer in JSON of this schema: a file, JSON, or FILE.py:Model (pydantic).",
    ),
    ("--grammar", "grammar", grammar, "Answer as this grammar (GBNF) has it."),
)


def _parameter(value: str) -> tuple[str, str]:
    """NAME=VALUE in its parts."""
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{value!r} is not NAME=VALUE.")
    return name, text


def sampling_options(command: _Command) -> _Command:
    """Adds the sampling flags; each arrives as a keyword argument, None if not given."""
    return _with(_SAMPLING, _with(_FORM, _logit_bias_option(command)))


def draw_options(command: _Command) -> _Command:
    """Those of the sampling flags that say how tokens are drawn, not what form they have."""
    return _with(_SAMPLING, _logit_bias_option(command))


def _logit_bias_option(command: _Command) -> _Command:
    return click.option(
        "--logit-bias",
        "logit_bias",
        multiple=True,
        type=logit_bias,
        metavar="TOKEN=BIAS",
        callback=lambda ctx, param, value: value or None,
        help="Add BIAS to a token's logit; -inf forbids it. May be repeated.",
    )(command)


def _with(flags: tuple[tuple[str, str, Any, str], ...], command: _Command) -> _Command:
    for flag, name, kind, meaning in reversed(flags):
        command = click.option(flag, name, type=kind, help=meaning)(command)
    return command


def preset_options(command: _Command) -> _Command:
    """Adds a preset, and the values of its parameters as {name: value}."""
    for decorate in (
        click.option(
            "-p",
            "--param",
            "parameters",
            multiple=True,
            type=_parameter,
            metavar="NAME=VALUE",
            callback=lambda ctx, param, value: dict(value),
            help="Fill in a parameter of the preset; may be repeated.",
        ),
        click.option(
            "-t",
            "--preset",
            metavar="NAME",
            help="Instructions, model and values under one name: localchat presets list.",
        ),
    ):
        command = decorate(command)
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


def history_options(command: _Command) -> _Command:
    """Adds the flags that say what to go on with, and whether to keep it."""
    for decorate in (
        click.option(
            "--log/--no-log",
            "log",
            default=None,
            help="Keep this in the history, or write nothing of it to disk.",
        ),
        click.option(
            "--cid", metavar="ID", help="Go on with this conversation; the first digits will do."
        ),
        click.option(
            "-c", "--continue", "goes_on", is_flag=True, help="Go on with the last conversation."
        ),
    ):
        command = decorate(command)
    return command
