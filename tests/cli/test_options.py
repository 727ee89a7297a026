from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from localchat.cli.options import preset_options, sampling_options
from localchat.errors import InputError
from localchat.types import SamplingParams

PYDANTIC = "from pydantic import BaseModel\nclass Point(BaseModel):\n    x: int\n"


def parsed(*arguments: str) -> dict[str, Any]:
    """The flags as a command gets them."""
    found: dict[str, Any] = {}

    @click.command()
    @preset_options
    @sampling_options
    def command(**flags: Any) -> None:
        found.update(flags)

    command.main(list(arguments), standalone_mode=False)
    return found


def params(*arguments: str) -> SamplingParams:
    names = {field.name for field in fields(SamplingParams)}
    given = {name: value for name, value in parsed(*arguments).items() if value is not None}
    return SamplingParams(**{name: value for name, value in given.items() if name in names})


def test_parameters_of_a_preset_arrive() -> None:
    found = parsed("-t", "translate", "-p", "language=Low German", "--param", "a=b=c", "-p", "e=")
    assert found["preset"] == "translate"
    assert found["parameters"] == {"language": "Low German", "a": "b=c", "e": ""}


def test_values_arrive() -> None:
    found = params(
        *("--frequency-penalty", "0.5", "--presence-penalty", "-1", "--json-schema", ' {"a": 1}'),
        *("--logit-bias", "7=-inf", "--logit-bias", " a=b=2.5"),
    )
    assert (found.frequency_penalty, found.presence_penalty) == (0.5, -1.0)
    assert found.logit_bias == ((7, -math.inf), (" a=b", 2.5))
    assert found.json_schema == ' {"a": 1}'


def test_a_schema_and_a_grammar_are_read_from_files(tmp_path: Path) -> None:
    file = tmp_path / "a:b"
    file.write_text('{"type": "null"}')
    assert params("--json-schema", str(file)).json_schema == '{"type": "null"}'
    assert params("--grammar", str(file)).grammar == '{"type": "null"}'


def test_a_schema_comes_from_a_pydantic_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shapes.py").write_text(PYDANTIC)
    schema = params("--json-schema", f"{tmp_path / 'shapes.py'}:Point").json_schema
    assert json.loads(schema or "")["required"] == ["x"]
    monkeypatch.syspath_prepend(tmp_path)
    assert params("--json-schema", "shapes:Point").json_schema == schema


@pytest.mark.parametrize("name", ["none.json", "none.py:Model", "shapes.py:Gone", "no.such:Model"])
def test_a_schema_that_cannot_be_had_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shapes.py").write_text(PYDANTIC)
    with pytest.raises(InputError) as caught:
        parsed("--json-schema", name)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "language"),
        ("-p", "=German"),
        ("--frequency-penalty", "nan"),
        ("--presence-penalty", "2.1"),
        ("--logit-bias", "a"),
        ("--logit-bias", "=1"),
        ("--logit-bias", "a=much"),
        ("--logit-bias", "a=inf"),
        ("--logit-bias", "a=nan"),
    ],
)
def test_bad_values_are_usage_errors(arguments: tuple[str, ...]) -> None:
    @click.command()
    @preset_options
    @sampling_options
    def command(**_: Any) -> None:
        raise AssertionError

    assert CliRunner().invoke(command, arguments).exit_code == 2
