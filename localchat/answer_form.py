"""The form that an answer has to have: a JSON schema, and the pydantic model it may come from."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from localchat.errors import InputError, UsageError


class WrongForm(ValueError):
    """Why an answer has another form, as a sentence for the model."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    schema: str
    """JSON text."""
    model: Any = None
    """The pydantic model, if it comes from one: it may check more than a schema can say."""

    def check(self, answer: str) -> Any:
        """The answer's JSON value, or the model made of it. Raises WrongForm.

        That the value fits the schema is the engine's work: it lets through nothing else, but what
        was cut off.
        """
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise WrongForm(f"It is no complete JSON: {error}.") from error
        if self.model is not None:
            try:
                return self.model.model_validate(value)
            except ValueError as error:  # pydantic's own is one, and what validators raise
                raise WrongForm(str(error)) from error
        return value


def form(given: str | Mapping[str, Any] | type) -> AnswerForm:
    """Of JSON text, the same as a dict, a pydantic model, or a name for `named`. Raises InputError,
    UsageError."""
    if isinstance(given, str):
        return named(given)
    if isinstance(given, Mapping):
        return AnswerForm(json.dumps(given))
    if not hasattr(given, "model_json_schema"):
        raise UsageError(f"{given!r} is no JSON schema, and no pydantic model.")
    return AnswerForm(json.dumps(given.model_json_schema()), given)


def named(value: str) -> AnswerForm:
    """JSON text as it is, or out of a file, or of FILE.py:Model or module:Model (pydantic)."""
    if value.lstrip().startswith("{"):
        return AnswerForm(value)
    source, colon, name = value.rpartition(":")
    if colon and name.isidentifier() and not Path(value).exists():
        return _of_model(source, name)
    return AnswerForm(_read(Path(value)))


def _of_model(source: str, name: str) -> AnswerForm:
    """The class `name` in a module or a file; its code is run."""
    try:
        model = getattr(_module(source), name)
        return AnswerForm(json.dumps(model.model_json_schema()), model)
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


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text, so it is no JSON schema.") from error
