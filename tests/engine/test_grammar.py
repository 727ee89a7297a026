from __future__ import annotations

import datetime
import enum
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from localchat.engine.grammar import constraint, gbnf, json_schema
from localchat.errors import InvalidGrammar
from localchat.types import SamplingParams
from tests.engine.walks import matches, walk

ROOT = Path(__file__).parents[2]


def of_schema(schema: Any) -> str:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    grammar = constraint(SamplingParams(json_schema=text))
    assert grammar is not None
    return grammar


def of_gbnf(text: str) -> str:
    grammar = constraint(SamplingParams(grammar=text))
    assert grammar is not None
    return grammar


def check_walks(schema: Any, seeds: range = range(15)) -> int:
    """Every text of the schema's grammar validates; returns how many there were."""
    grammar = of_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    texts = [text for seed in seeds if (text := walk(grammar, seed)) is not None]
    for text in texts:
        validator.validate(json.loads(text))
    return len(texts)


def test_a_request_without_structure_has_no_constraint() -> None:
    assert constraint(SamplingParams(stop=("x",))) is None


def test_structure_is_one_thing_and_is_not_cut_by_stop_texts() -> None:
    with pytest.raises(InvalidGrammar, match="not both"):
        constraint(SamplingParams(json_schema="{}", grammar='root ::= "a"'))
    for wanted in ({"json_schema": "{}"}, {"grammar": 'root ::= "a"'}):
        with pytest.raises(InvalidGrammar, match="stop text"):
            constraint(SamplingParams(stop=("x",), **wanted))  # type: ignore[arg-type]


# --- JSON schema


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "integer", "minimum": -5, "maximum": 1234},
        {"type": "integer", "exclusiveMinimum": 0},
        {"type": "number", "minimum": 0.5, "exclusiveMaximum": 3.25},
        {"type": "integer", "multipleOf": 7, "minimum": 3},
        {"type": "string", "minLength": 2, "maxLength": 4},
        {"type": "string", "pattern": r"^\d{2}[^x]\S$"},
        {"type": "string", "minLength": 3, "pattern": "^a*b$"},
        {"type": ["string", "null", "integer"], "minLength": 2, "minimum": 4},
        {"enum": [1, "a", None, [1], {}]},
        {"type": "integer", "enum": [1.5, 2, "x"]},
        {"const": {"a": [1, 2.5, None, 'é\u0001"']}},
        {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
        {"type": "object", "required": ["x", "y"], "properties": {"y": {"type": "boolean"}}},
        {"type": "object", "properties": {'a"b\\': {"type": "null"}}, "required": ['a"b\\']},
        {
            "type": "object",
            "patternProperties": {"^a": {"type": "integer"}},
            "additionalProperties": {"type": "string"},
        },
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": False, "minItems": 1},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}], "minLength": 3, "minimum": 5},
        {"type": "string", "allOf": [{"minLength": 2}, {"maxLength": 3}]},
        {"$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a", "minimum": 5},
    ],
    ids=lambda schema: json.dumps(schema)[:50],
)
def test_whatever_matches_validates(schema: Any) -> None:
    assert check_walks(schema) > 5


_LEAVES = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-1000, 1000),
        st.integers(0, 1000),
    ),
    st.builds(
        lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
        st.integers(0, 4),
        st.integers(0, 4),
    ),
    st.builds(
        lambda values: {"enum": values},
        st.lists(st.text(max_size=4) | st.integers(-(2**53), 2**53), min_size=1),
    ),
)


def _objects(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, count, more: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:count],
            "additionalProperties": more,
        },
        st.dictionaries(st.text(max_size=3), parts, max_size=3),
        st.integers(0, 3),
        st.just(False) | parts,
    )


_SCHEMAS = st.recursive(
    _LEAVES,
    lambda parts: st.one_of(
        _objects(parts),
        st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, parts),
        st.builds(lambda choices: {"anyOf": choices}, st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_SCHEMAS)
def test_whatever_matches_any_schema_validates(schema: Any) -> None:
    check_walks(schema, range(3))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = None


class Person(BaseModel):
    """Someone."""

    name: str = Field(min_length=1, max_length=20, description="in full")
    age: int | None = None
    colour: Colour
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(max_length=2)
    marks: dict[str, float]
    born: datetime.date
    seen: datetime.datetime
    id: uuid.UUID
    size: float = Field(gt=0, lt=10.5)
    place: tuple[int, str]
    parent: Person | None = None


@pytest.mark.parametrize(
    "kind",
    [
        Person,
        datetime.date,
        datetime.time,
        datetime.datetime,
        datetime.timedelta,
        uuid.UUID,
        list[Colour],
        Cat | Dog,
    ],
    ids=str,
)
def test_pydantic_takes_what_the_schema_of_its_model_allows(kind: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    grammar = of_schema(adapter.json_schema())
    texts = [text for seed in range(30) if (text := walk(grammar, seed, 1500)) is not None]
    for text in texts:
        adapter.validate_json(text)
    assert len(texts) > 20


def test_white_space_is_bounded() -> None:
    grammar = of_schema({"type": "object", "properties": {"a": {"type": "null"}}})
    assert matches(grammar, '{"a":null}')
    assert matches(grammar, '{\n    "a": null\n}')
    assert not matches(grammar, '{\n\n"a":null}')
    assert not matches(grammar, "{" + " " * 21 + '"a":null}')


def test_names_that_hold_no_keyword_may_be_any() -> None:
    grammar = of_schema({"type": "object", "properties": {"title": {"const": 1}, "not": {}}})
    assert matches(grammar, '{"title":1}')
    assert not matches(grammar, '{"title":2}')


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"uniqueItems": True}, "'uniqueItems' at # can't be kept: a grammar can't compare items"),
        ({"properties": {"a/b": {"not": {}}}}, "'not' at #/properties/a~1b can't"),
        ({"items": {"if": {}}}, "'if' at #/items can't"),
        ({"type": "string", "maxlength": 3}, "'maxlength' at # can't be kept: it is not a keyword"),
        ({"x-guidance": {"lenient": True}}, "'x-guidance' at #"),
        ({"type": "number", "multipleOf": 0.1}, "'multipleOf' at #"),
        ({"minProperties": 2}, "'minProperties' at #"),
        ({"minimum": True}, "'minimum' at # can't be kept: it has to be a number"),
        ({"minimum": 1e300}, "'minimum' at #"),
        ({"maxLength": 10**6}, "'maxLength' at # can't be kept: it can be 10,000 at most"),
        ({"maxLength": -1}, "'maxLength' at #"),
        ({"type": {}}, "'type' at #"),
        ({"required": "a"}, "'required' at #"),
        ({"enum": 3}, "'enum' at #"),
        ({"const": [{"a": 2**53 + 1}]}, "'const' at # can't be kept: numbers beyond 2^53"),
        ({"anyOf": []}, "'anyOf' at #"),
        ({"properties": []}, "'properties' at #"),
        ({"items": [{}]}, "no schema at #/items, but [{}]"),
        ({"format": "hostname"}, "'hostname' is not one of date,"),
        ({"pattern": "(?=a)b"}, "'pattern' at #"),
        ({"pattern": "[[:alpha:]]"}, "'pattern' at #"),
        ({"pattern": "("}, "is no regular expression"),
        ({"pattern": 3}, "it has to be a text"),
        ({"patternProperties": {"(": {}}}, "'patternProperties' at #"),
        ({"$ref": "https://example.com/a"}, "'$ref' at #"),
        ({"$ref": "#/$defs/a"}, "there is no schema at #/$defs/a"),
        ({"$ref": "#/const", "const": {"not": {}}}, "there is no schema at #/const"),
        ({"$ref": "#"}, "refers to itself without end"),
        (
            {
                "$defs": {
                    "a": {
                        "type": "object",
                        "properties": {"b": {"$ref": "#/$defs/a"}},
                        "required": ["b"],
                    }
                },
                "$ref": "#/$defs/a",
            },
            "refers to itself without end",
        ),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "Unsatisfiable"),
        ({"const": "\ud800"}, "The schema or grammar can't be used"),
        ('{"const": NaN}', "NaN is not a JSON value"),
        ("[]", "is not a JSON object"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(schema: Any, said: str) -> None:
    with pytest.raises(InvalidGrammar) as caught:
        of_schema(schema)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_schema_that_refers_to_itself_and_ends_is_kept() -> None:
    tree = {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                },
                "required": ["left"],
            }
        },
        "$ref": "#/$defs/tree",
    }
    assert check_walks(tree) > 5
    assert matches(of_schema(tree), '{"left":{"left":null}}')


def test_limits_are_exact() -> None:
    def nested(depth: int) -> str:
        return '{"items":' * (depth - 1) + "{}" + "}" * (depth - 1)

    def wide(count: int) -> str:
        return json.dumps({"properties": {f"a{index}": {} for index in range(count - 1)}})

    assert json_schema.strict(nested(json_schema.MAX_DEPTH))
    assert json_schema.strict(wide(json_schema.MAX_NODES))
    assert json_schema.strict("{}" + " " * (json_schema.MAX_BYTES - 2))
    for text, said in (
        (nested(json_schema.MAX_DEPTH + 1), "nested"),
        (wide(json_schema.MAX_NODES + 1), "2,000 schemas"),
        ("{}" + " " * (json_schema.MAX_BYTES - 1), "64 KiB"),
    ):
        with pytest.raises(InvalidGrammar, match=said):
            json_schema.strict(text)


# --- GBNF


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "yes" | "no"', ["yes", "no"], ["", "yesno", "ye"]),
        ('root ::= [a-z]* "abc"', ["abc", "abcabc", "xabc"], ["ab", "abcd"]),
        ('root ::= "ab" "cd" | "abc" "x"', ["abcd", "abcx"], ["abc"]),
        ('root ::= root "a" | "b"', ["b", "baa"], ["a", "ab"]),
        ('root ::= "(" root ")" | ""', ["", "(())"], ["(", "())"]),
        ('root ::= [^"\\n\\]]{2,3}', ["ab", "é[-"], ["a", "abcd", 'a"', "a\n", "a]"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,1} "d"?', ["aab", "aabbcd"], ["ab", "aac", "aabcc"]),
        ('root ::= ("a" | "b" # or\n "c")+\n', ["abcbc"], ["", "c"]),
        ("root ::= . word\nword ::= [a-]+", ["éa-", "\n-"], ["é", "ab"]),
        ('root ::= "\\x41\\u00e9\\U0001F600\\"\\\\"', ['Aé😀"\\'], ["A"]),
        ('# first\r\nroot ::=\r\n  "a" |\r\n  "b"\r\n', ["a", "b"], [""]),
        ('root ::= "x" y*\ny ::= y "a"', ["x"], ["xa"]),
        ('root ::= a-b_1\na-b_1 ::= "" "x"', ["x"], [""]),
    ],
)
def test_gbnf_means_what_it_means_to_llama_cpp(
    grammar: str, good: list[str], bad: list[str]
) -> None:
    compiled = of_gbnf(grammar)
    assert [text for text in good if not matches(compiled, text)] == []
    assert [text for text in bad if matches(compiled, text)] == []


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ("", "no rule 'root'"),
        ('start ::= "a"', "no rule 'root'"),
        ('root ::= "a"\nx ::= (', "Line 2 of the grammar: ')' is missing"),
        ("root ::= x", "Line 1 of the grammar: the rule 'x' is not defined"),
        ('root ::= "a"\nroot ::= "b"', "Line 2 of the grammar: the rule 'root' is defined twice"),
        ('root ::= root "a"', "'root' goes on for ever"),
        ('root ::= a\na ::= (b)+\nb ::= a "x"', "'root' goes on for ever"),
        ('root ::= "a"{0,1000000}', "repeated too often"),
        ('root ::= (("a"{100}){100}){100}', "repeated too often"),
        ('root ::= "a"{3,2}', "wrong way round"),
        ('root ::= "a"{', "a repetition is written"),
        ("root ::= *", "'*' is not expected"),
        ('root ::= "a', "ends in the middle"),
        ("root ::= [a", "ends in the middle"),
        ("root ::= []", "is empty"),
        ("root ::= [z-a]", "runs backwards"),
        ('root ::= "\\q"', "has no meaning"),
        ('root ::= "\\x4"', "hexadecimal"),
        ('root ::= "\\ud800"', "does not exist"),
        ('root ::= "\\U00110000"', "does not exist"),
        ("root ::= <think>", "angle brackets"),
        ('root = "a"', "'::=' is missing"),
        ('"a"', "a rule's name is missing"),
    ],
)
def test_what_is_no_gbnf_is_refused_with_its_line(grammar: str, said: str) -> None:
    with pytest.raises(InvalidGrammar) as caught:
        of_gbnf(grammar)
    assert said in str(caught.value)


# --- what was made to do harm


CHAIN = "\n".join(f"r{i} ::= r{i + 1} | r{i + 1}" for i in range(2000)) + '\nr2000 ::= "x"'
HOSTILE = [
    ("grammar", "root ::= ("),
    ("grammar", "root ::= " + "(" * 200_000),
    ("grammar", "root ::= " + "(" * 60_000),
    ("grammar", 'root ::= "' + "a" * 10_000_000),
    ("grammar", 'root ::= "a\0b"'),
    ("grammar", "\0"),
    ("grammar", "root ::= root"),
    ("grammar", 'root ::= root root | "a"'),
    ("grammar", 'root ::= a root "x" | "y"\na ::= b\nb ::= ""'),
    ("grammar", 'root ::= ((("a"?)*)*)*'),
    ("grammar", 'root ::= "a"{0,2000} "a"{0,2000} "a"{0,2000} "a"{0,2000}'),
    ("grammar", 'root ::= "a" root "b" | "a" root "c" | "d"'),
    ("grammar", CHAIN.replace("r0 ", "root ")),
    ("grammar", 'root ::= "' + "x" * 19_900 + '"'),
    ("grammar", "root ::= " + " | ".join(f"[a-{chr(0x4E00 + i)}]" for i in range(5000))),
    ("json_schema", "[" * 200_000),
    ("json_schema", '{"a":' * 10_000),
    ("json_schema", " " * 10_000_000),
    ("json_schema", '{"\0": 1}'),
    ("json_schema", json.dumps({"pattern": "(" * 60_000})),
    ("json_schema", json.dumps({"type": "string", "pattern": "^(((a{1,99}){1,99}){1,99}){9,99}$"})),
    ("json_schema", json.dumps({"type": "string", "pattern": "^(.*a.{60}|.*b.{60})*$"})),
    ("json_schema", json.dumps({"type": "integer", "multipleOf": 999_999_999_989})),
    (
        "json_schema",
        json.dumps(
            {
                "$defs": {
                    f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)
                }
                | {"a60": {"type": "string"}},
                "$ref": "#/$defs/a0",
            }
        ),
    ),
    (
        "json_schema",
        json.dumps(
            {
                "allOf": [
                    {"anyOf": [{"required": [f"{i}"]}, {"required": [f"-{i}"]}], "type": "object"}
                    for i in range(60)
                ]
            }
        ),
    ),
    (
        "json_schema",
        json.dumps(
            {
                "$defs": {f"a{i}": {"$ref": f"#/$defs/a{(i + 1) % 900}"} for i in range(900)},
                "anyOf": [{"$ref": f"#/$defs/a{i}"} for i in range(900)],
            }
        ),
    ),
]


def test_hostile_grammars_neither_kill_the_process_nor_keep_it_busy(tmp_path: Path) -> None:
    file = tmp_path / "hostile.json"
    file.write_text(json.dumps(HOSTILE))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.hostile", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(HOSTILE)
    slow = [
        (text[:60], taken)
        for (_, text), (_, taken) in zip(HOSTILE, outcomes, strict=True)
        if taken > 2  # seconds of processor time, so that a busy machine does not matter
    ]
    assert slow == []
    refused = [outcome.startswith("refused") for outcome, _ in outcomes]
    assert refused[:4] == [True] * 4
    assert refused[15:20] == [True] * 5


def test_the_limits_of_gbnf_are_exact() -> None:
    assert gbnf.to_lark("root ::= " + "(" * gbnf.MAX_DEPTH + '"a"' + ")" * gbnf.MAX_DEPTH)
    assert gbnf.to_lark('root ::= "' + "a" * gbnf.MAX_SYMBOLS + '"')
    assert gbnf.to_lark('root ::= "a"{2000}')
    deep = gbnf.MAX_DEPTH + 1
    for text in (
        "root ::= " + "(" * deep + '"a"' + ")" * deep,
        'root ::= "' + "a" * (gbnf.MAX_SYMBOLS + 1) + '"',
        'root ::= "a"{2001}',
    ):
        with pytest.raises(InvalidGrammar):
            gbnf.to_lark(text)
