"""Answers of a given form, from the real starter model through the real command."""

from __future__ import annotations

import inspect
import json
import subprocess
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from localchat.client.engines import running
from localchat.paths import Paths
from tests.conftest import CommandRunner

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "mood": {"enum": ["good", "bad"]},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}
IMPORTS = "from typing import *; from pydantic import *\n\n"
PROMPT = ("Describe a person in JSON.", "--temp", "0", "--seed", "1")

pytestmark = pytest.mark.usefixtures("warm_starter")


class Person(BaseModel, extra="forbid"):
    name: Annotated[str, Field(max_length=20)]
    age: Annotated[int, Field(ge=0, le=120)]
    mood: Literal["good", "bad"]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a usage error."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Error: ")
    assert first.endswith((".", "?"))
    assert len(rest) <= 1
    assert all(line.startswith("Try: ") for line in rest)
    return first


def test_a_schema_in_any_form_is_kept_to(localchat: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "person.py").write_text(IMPORTS + inspect.getsource(Person))
    inline, file, code = (
        localchat(*PROMPT, "--max-tokens", "200", "--json-schema", schema, cwd=tmp_path)
        for schema in (json.dumps(SCHEMA), "person.json", "person.py:Person")
    )
    for done in (inline, file, code):
        assert (done.returncode, done.stderr) == (0, "")
        Person.model_validate_json(done.stdout, strict=True)
    assert inline.stdout == file.stdout


def test_an_answer_that_was_cut_says_so(localchat: CommandRunner) -> None:
    cut = (*PROMPT, "--max-tokens", "3", "--json-schema", json.dumps(SCHEMA))
    done = localchat(*cut)
    assert done.returncode == 0
    assert done.stderr == "Note: --max-tokens ended the reply before it was complete.\n"
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
    assert json.loads(localchat(*cut, "--json").stdout)["finish_reason"] == "length"


def test_several_answers_are_each_of_the_form(localchat: CommandRunner) -> None:
    hot = ("Describe a person.", "--temp", "1", "--seed", "1", "-n", "3", "--max-tokens", "200")
    done = localchat(*hot, "--json", "--json-schema", json.dumps(SCHEMA))
    choices = json.loads(done.stdout)["choices"]
    assert [choice["finish_reason"] for choice in choices] == ["stop"] * 3
    for choice in choices:
        Person.model_validate_json(choice["text"], strict=True)
    assert len({choice["text"] for choice in choices}) > 1


def test_a_grammar_is_kept_to(localchat: CommandRunner, tmp_path: Path) -> None:
    file = tmp_path / "colour.gbnf"
    file.write_text('root ::= ("red" | "blue") " " [0-9]{3}\n')
    done = localchat("Name a colour and a number", "--grammar", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    colour, number = done.stdout.removesuffix("\n").split(" ")
    assert colour in ("red", "blue")
    assert len(number) == 3
    assert number.isdigit()


def test_forms_that_are_none_are_refused_and_the_engine_lives_on(
    localchat: CommandRunner, tmp_path: Path, places: Paths
) -> None:
    pids = set()
    for schema in ("{", '{"type": "thing"}', '{"$ref": "#/nowhere"}', "missing.json", "no.py:No"):
        refusal(localchat("hi", "--json-schema", schema, cwd=tmp_path))
    for grammar in ("root ::= (", "no rules", "", "root ::= " + "(" * 70_000):
        (tmp_path / "g").write_text(grammar)
        refusal(localchat("hi", "--grammar", "g", cwd=tmp_path))
        pids |= {engine.status["pid"] for engine in running(places)}
    assert len(pids) == 1


def test_a_schema_and_a_grammar_together_are_refused(
    localchat: CommandRunner, tmp_path: Path
) -> None:
    (tmp_path / "g").write_text('root ::= "a"')
    refusal(localchat("hi", "--json-schema", "{}", "--grammar", "g", cwd=tmp_path))


def test_a_forbidden_word_is_not_said(localchat: CommandRunner) -> None:
    asked = ("--raw", "The capital of France is", "--temp", "0", "--max-tokens", "1", "--json")
    assert json.loads(localchat(*asked).stdout)["text"] == " Paris"
    biased = json.loads(localchat(*asked, "--logit-bias", " Paris=-inf").stdout)
    assert biased["text"] != " Paris"
    assert "99999999" in refusal(localchat(*asked, "--logit-bias", "99999999=1"))


def test_logprobs_of_the_real_model(localchat: CommandRunner) -> None:
    asked = ("--raw", "The capital of France is", "--temp", "0", "--max-tokens", "2", "--json")
    found = json.loads(localchat(*asked, "--logprobs", "3").stdout)
    assert "".join(token["token"] for token in found["logprobs"]) == found["text"]
    for token in found["logprobs"]:
        assert token["top"][0] == {"token": token["token"], "logprob": token["logprob"]}
        values = [other["logprob"] for other in token["top"]]
        assert len(values) == 3
        assert 0 >= values[0] >= values[1] >= values[2]
