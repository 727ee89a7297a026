"""What an answer has to look like, as it is given on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import click

from localchat.errors import InputError
from localchat.session.attachments import read_file


def json_schema(value: str) -> str:
    """JSON text as it is, or out of a file, or of FILE.py:Model or module:Model (pydantic)."""
    if value.lstrip().startswith("{"):
        return value
    source, colon, name = value.rpartition(":")
    if colon and name.isidentifier() and not Path(value).exists():
        return _model_schema(source, name)
    return read_file(Path(value))


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


def _model_schema(source: str, name: str) -> str:
    """The schema of the class `name` in a module or a file; its code is run."""
    try:
        model = getattr(_module(source), name)
        return json.dumps(model.model_json_schema())
    except Exception as error:  # whatever the code of the user's file does
        raise InputError(
            f"{source}:{name} gives no JSON schema: {type(error).__name__}: {error}.",
            "Name a pydantic model, such as person.py:Person",
        ) from error


def _module(source: str) -> ModuleType:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    path = Path(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
