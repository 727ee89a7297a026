"""What an answer has to look like, as it is given on the command line."""

from __future__ import annotations

import math
from pathlib import Path

import click

from localchat.session.attachments import read_file


def json_schema(value: str) -> str:
    """JSON text as it is, or out of a file, or of FILE.py:Model or module:Model (pydantic)."""
    from localchat.answer_form import named  # 5 ms, which commands without a schema need not pay

    return named(value).schema


def grammar(value: str) -> str:
    """The text of a file in GBNF."""
    return read_file(Path(value))


def logit_bias(value: str) -> tuple[int | str, float]:
    """TOKEN=BIAS: a token's id or a text, and a number or -inf."""
    token, _, number = value.rpartition("=")
    try:
        bias = float(number)
    except ValueError:
        bias = math.nan
    if not token or not bias < math.inf:
        raise click.BadParameter(f"{value!r} is not TOKEN=BIAS with a number or -inf.")
    return (int(token) if token.isascii() and token.isdigit() else token), bias
