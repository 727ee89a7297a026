"""Which JSON schemas an answer can be held to: every keyword is kept, or refused by name.

llguidance makes the grammar. It refuses what it can't express, but ignores keywords it does not
know, as JSON Schema has it; a misspelt bound would then be no bound. So keywords are checked here,
and those are refused for which an answer, though it matched the grammar, might not validate.
"""

from __future__ import annotations

import itertools
import json
import re
import warnings
from typing import Any
from urllib.parse import unquote

from localchat.errors import InvalidGrammar

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
MAX_NODES = 2000
"""Schemas within the schema."""

_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$comment", "$schema", "discriminator", "contentMediaType", "contentSchema"),
    )
)
"""They say nothing about what validates. `discriminator` (OpenAPI, pydantic) repeats a oneOf."""
_ONE = frozenset(("items", "additionalProperties"))
_LISTS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_NUMBERS = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
_COUNTS = frozenset(
    ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
)
_UNSUPPORTED = {
    "uniqueItems": "a grammar can't compare items",
    "not": "a grammar can't say what something is not",
    "if": "a grammar has no conditions",
}
_MOST_COMPARED = 100  # schemas of a oneOf, each with each
_LONGEST = 10_000  # of strings and arrays, so that the grammar stays small

_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = f"[12][0-9]{{3}}-{_DAY}"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_FORMATS: dict[str, str | None] = {
    "date": f"^{_DATE}$",
    "time": f"^{_CLOCK}{_ZONE}$",
    "date-time": f"^{_DATE}T{_CLOCK}{_ZONE}$",
    "duration": r"^P(?:[0-9]{1,3}D(?:T[0-9]{1,2}H)?|T(?:[0-9]{1,2}H)?[0-9]{1,2}M|T[0-9]{1,4}S)$",
    "uuid": "^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$",
    "ipv4": rf"^{_BYTE}(?:\.{_BYTE}){{3}}$",
    "email": r"^[a-z0-9]+(?:[._+-][a-z0-9]+)*@[a-z][a-z0-9]*(?:\.[a-z][a-z0-9]+)+$",
    "uri": r"^https?://[a-z][a-z0-9]*(?:\.[a-z][a-z0-9]+)+(?:/[A-Za-z0-9_~.-]{1,64}){0,16}/?$",
    "path": None,
    "password": None,
    "binary": None,
}
"""Texts that are of the format beyond doubt: no 29 February, no leap second. None: any text."""


def strict(text: str) -> str:
    """The schema as JSON text, without annotations, if an answer can be held to all of it.

    Raises InvalidGrammar, which names the keyword and where it stands.
    """
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise InvalidGrammar(f"The JSON schema is longer than {MAX_BYTES // 1024} KiB.")
    try:
        schema = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidGrammar(f"The JSON schema is nested more than {MAX_DEPTH} deep.") from None
    except ValueError as error:
        raise InvalidGrammar(f"The JSON schema is not JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise InvalidGrammar("The JSON schema is not a JSON object.")
    _check_depth(schema)
    checker = _Checker()
    cleaned = checker.visit(schema, "#")
    checker.check_references()
    checker.settle_choices()
    if not checker.ends():
        raise InvalidGrammar("The JSON schema refers to itself without end: no value is finite.")
    return json.dumps(cleaned)


class _Checker:
    def __init__(self) -> None:
        self._schemas: dict[str, Any] = {}  # by JSON pointer
        self._references: list[tuple[str, str]] = []  # where, pointer

    def visit(self, schema: Any, at: str) -> Any:
        """The schema without annotations."""
        if isinstance(schema, bool):
            self._schemas[at] = schema
            return schema
        if not isinstance(schema, dict):
            raise InvalidGrammar(f"The JSON schema has no schema at {at}, but {_short(schema)}.")
        if len(self._schemas) >= MAX_NODES:
            raise InvalidGrammar(f"The JSON schema consists of more than {MAX_NODES:,} schemas.")
        cleaned = self._schemas[at] = {}
        for keyword, value in schema.items():
            if keyword not in _ANNOTATIONS:
                self._keyword(cleaned, keyword, value, at)
        if "minProperties" in cleaned and cleaned["minProperties"] > 1:
            # Names may come twice in the text, and are then one property.
            raise _fault("minProperties", at, "a grammar can't count different names beyond 1")
        return cleaned

    def _keyword(self, cleaned: dict[str, Any], keyword: str, value: Any, at: str) -> None:
        under = f"{at}/{_escaped(keyword)}"
        if keyword in _ONE:
            cleaned[keyword] = self.visit(value, under)
        elif keyword in _LISTS:
            if not isinstance(value, list) or not value:
                raise _fault(keyword, at, "it has to be a list of schemas")
            cleaned[keyword] = [
                *cleaned.get(keyword, []),
                *(self.visit(one, f"{under}/{index}") for index, one in enumerate(value)),
            ]
        elif keyword in _MAPS:
            if not isinstance(value, dict):
                raise _fault(keyword, at, "it has to be an object of schemas")
            if keyword == "patternProperties":
                for pattern in value:
                    _check_pattern(pattern, keyword, at)
            cleaned[keyword] = {
                name: self.visit(one, f"{under}/{_escaped(name)}") for name, one in value.items()
            }
        elif keyword == "uniqueItems" and value is False:
            return
        elif keyword == "format":
            pattern = _format(value, at)
            if pattern is not None:
                cleaned["allOf"] = [*cleaned.get("allOf", []), {"pattern": pattern}]
        else:
            self._check_value(keyword, value, at)
            cleaned[keyword] = value

    def _check_value(self, keyword: str, value: Any, at: str) -> None:
        if keyword in _NUMBERS:
            if not _is_number(value):
                raise _fault(keyword, at, "it has to be a number")
        elif keyword in _COUNTS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise _fault(keyword, at, "it has to be a whole number from 0 on")
            if value > _LONGEST:
                raise _fault(keyword, at, f"it can be {_LONGEST:,} at most")
        elif keyword == "multipleOf":
            if not _is_number(value) or value <= 0 or value != int(value):
                raise _fault(keyword, at, "only multiples of whole numbers are exact in JSON")
        elif keyword == "$ref":
            if not isinstance(value, str) or not value.startswith("#"):
                raise _fault(keyword, at, "only references within the schema ('#/$defs/…') work")
            self._references.append((at, _pointer(value)))
        elif keyword == "pattern":
            _check_pattern(value, keyword, at)
        elif keyword == "type":
            kinds = [value] if isinstance(value, str) else value
            if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
                raise _fault(keyword, at, "it has to be a type or a list of types")
        elif keyword == "required":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                raise _fault(keyword, at, "it has to be a list of names")
        elif keyword in ("enum", "const"):
            if keyword == "enum" and not isinstance(value, list):
                raise _fault(keyword, at, "it has to be a list of values")
            if not _is_exact(value):
                raise _fault(keyword, at, "numbers beyond 2^53 are not exact in JSON")
        else:
            why = _UNSUPPORTED.get(keyword, "it is not a keyword that a grammar can keep")
            raise _fault(keyword, at, why)

    def check_references(self) -> None:
        for at, pointer in self._references:
            if pointer not in self._schemas:
                raise _fault("$ref", at, f"there is no schema at {pointer}")

    def settle_choices(self) -> None:
        """Turns each oneOf whose schemas exclude each other into an anyOf."""
        for schema in list(self._schemas.values()):
            choices = schema.get("oneOf", ()) if isinstance(schema, dict) else ()
            if 0 < len(choices) <= _MOST_COMPARED and all(
                itertools.starmap(self._disjoint, itertools.combinations(choices, 2))
            ):
                del schema["oneOf"]
                schema["allOf"] = [*schema.get("allOf", []), {"anyOf": choices}]

    def ends(self) -> bool:
        """Whether a finite value can match."""
        targets = {"#"} | {pointer for _, pointer in self._references}
        users: dict[str, list[str]] = {}
        for at, pointer in self._references:
            around = [at[:index] for index, char in enumerate(at) if char == "/"]
            users.setdefault(pointer, []).extend(targets.intersection([*around, at]))
        ending: set[str] = set()
        waiting = list(targets)
        while waiting:
            pointer = waiting.pop()
            if pointer not in ending and _ends(self._schemas[pointer], ending):
                ending.add(pointer)
                waiting += users.get(pointer, ())
        return "#" in ending

    def _disjoint(self, left: Any, right: Any) -> bool:
        """Whether no value matches both: by their types, or by a property that both require."""
        left, right = self._resolved(left), self._resolved(right)
        kinds, other_kinds = _kinds(left), _kinds(right)
        if kinds and other_kinds and not kinds & other_kinds:
            return True
        if not kinds == other_kinds == {"object"}:
            return False
        for name in set(left.get("required", ())) & set(right.get("required", ())):
            values, others = (
                _texts(self._resolved(one.get("properties", {}).get(name, {})))
                for one in (left, right)
            )
            if values and others and not values & others:
                return True
        return False

    def _resolved(self, schema: Any) -> dict[str, Any]:
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                return {}
            if "$ref" not in schema:
                return schema
            schema = self._schemas[_pointer(schema["$ref"])]
        return {}


def _ends(schema: Any, ending: set[str]) -> bool:
    """Whether a finite value can match, where the references in `ending` are known to end."""
    if isinstance(schema, bool) or "const" in schema or "enum" in schema:
        return True
    if "$ref" in schema and _pointer(schema["$ref"]) not in ending:
        return False
    for keyword in ("anyOf", "oneOf"):
        if not any(_ends(part, ending) for part in schema.get(keyword, (True,))):
            return False
    needed = list(schema.get("allOf", ()))
    if schema.get("type") == "object":
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        needed += [properties.get(name, others) for name in schema.get("required", ())]
    if schema.get("type") == "array":
        items = [*schema.get("prefixItems", ()), schema.get("items", True)]
        needed += items[: schema.get("minItems", 0)]
    return all(_ends(part, ending) for part in needed)


def _kinds(schema: dict[str, Any]) -> set[str]:
    """The types of JSON that can match; empty if unknown."""
    kinds = schema.get("type", ())
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | {"integer"} if "number" in found else found


def _texts(schema: dict[str, Any]) -> set[str]:
    """The values that can match, if all of them are texts; empty if that is unknown."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return set(values) if all(isinstance(value, str) for value in values) else set()


def _pointer(reference: str) -> str:
    return unquote(reference).removesuffix("/")


def _check_depth(value: Any) -> None:
    """Without recursion, so that whatever Python's parser took is measured."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if any(isinstance(value, dict | list) for value in level):
        raise InvalidGrammar(f"The JSON schema is nested more than {MAX_DEPTH} deep.")


def _check_pattern(pattern: Any, keyword: str, at: str) -> None:
    """Refuses patterns that Python, and so most validators, would read in another way."""
    if not isinstance(pattern, str):
        raise _fault(keyword, at, "it has to be a text")
    if "(?" in pattern.replace("(?:", ""):
        raise _fault(keyword, at, "groups with '(?' are not supported, but for '(?:'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise _fault(keyword, at, f"{_short(pattern)} is no regular expression: {error}") from error


def _format(value: Any, at: str) -> str | None:
    if not isinstance(value, str) or value not in _FORMATS:
        raise _fault("format", at, f"{_short(value)} is not one of {', '.join(_FORMATS)}")
    return _FORMATS[value]


def _is_exact(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_exact, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or abs(value) <= 2**53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _fault(keyword: str, at: str, why: str) -> InvalidGrammar:
    return InvalidGrammar(f"The JSON schema's {keyword!r} at {at} can't be kept: {why}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
