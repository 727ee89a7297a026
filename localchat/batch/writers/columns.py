"""The columns that a batch adds to those of the input: answers, the fields of a schema, errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from localchat.batch.journal import Entry
from localchat.batch.outcome import Outcome
from localchat.batch.plan import Plan

_DEEPEST = 8  # objects within each other that become columns; what is deeper stays JSON

Path = tuple[str, ...]


class Added:
    """`names` of the added columns, in their order, and their values for a row."""

    def __init__(self, plan: Plan, taken: Iterable[str], *, with_errors: bool) -> None:
        """A column that the input has already, among `taken`, gets a number behind its name."""
        self._choices = plan.choices
        self._fields: list[Path] = []
        n = plan.options.params.n
        if plan.choices:
            wanted = ["answer", *(f"probability_{choice}" for choice in plan.choices)]
        elif n > 1:
            wanted = [f"answer_{number}" for number in range(1, n + 1)]
        elif plan.form is not None and (fields := list(_fields(json.loads(plan.form.schema)))):
            self._fields = fields
            wanted = [".".join(field) for field in fields]
        else:
            wanted = ["answer"]
        self._count = len(wanted)
        self.names = _apart([*wanted, "error"] if with_errors else wanted, taken)

    def values(self, entry: Entry) -> list[Any]:
        """A value for each name; None where there is none."""
        outcome, error = entry.outcome, entry.outcome.error
        values = [None] * self._count if error else self._answers(outcome)
        if len(self.names) > self._count:
            values.append(f"line {entry.line}: {error.message}" if error else None)
        return values

    def _answers(self, outcome: Outcome) -> list[Any]:
        texts = [one.text for one in outcome.completions]
        if self._choices:
            probabilities = dict(outcome.scores)
            return [texts[0], *(round(probabilities[choice], 6) for choice in self._choices)]
        if self._fields:
            value = json.loads(texts[0])
            return [_at(value, field) for field in self._fields]
        # A row of OpenAI's format may ask for another number of answers than the run.
        return (texts + [None] * self._count)[: self._count]


def _fields(schema: Any) -> Iterator[Path]:
    """The fields of an object; those of objects in it by their whole path."""
    if isinstance(schema, dict):
        yield from _below(schema, schema, (), _DEEPEST)


def _below(schema: dict[str, Any], root: dict[str, Any], path: Path, depth: int) -> Iterator[Path]:
    found = _resolved(schema, root)
    properties = found.get("properties")
    if depth and isinstance(properties, dict) and properties and found.get("type") == "object":
        for name, field in properties.items():
            below = field if isinstance(field, dict) else {}
            yield from _below(below, root, (*path, name), depth - 1)
    elif path:
        yield path


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """What a reference within the document leads to, as pydantic makes them."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        schema = found
    return schema


def _at(value: Any, field: Path) -> Any:
    for name in field:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _apart(wanted: Iterable[str], taken: Iterable[str]) -> list[str]:
    used = set(taken)
    names = []
    for name in wanted:
        free, number = name, 2
        while free in used:
            free, number = f"{name}_{number}", number + 1
        used.add(free)
        names.append(free)
    return names
