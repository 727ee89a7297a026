"""`localchat batch status`: how far a batch is, and what it asks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from localchat.events import Event, Scored
from localchat.types import GenerationRequest, Score, Timings, Usage
from tests.batch import Engine, said, text
from tests.cli.batch.conftest import Batch
from tests.cli.batch.told import told


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,one\n2,two\n3,three\n")
    return path


def test_of_a_finished_batch(batch: Batch, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(Engine(), "in.csv", "-o", "out.csv", "--prompt", "Say {text}") == 0
    told(capsys)
    assert batch(Engine(), "status", "out.csv") == 0
    out, _ = told(capsys)
    first, second, *rest = out.splitlines()
    assert first == "finished: 3 of 3 rows"
    assert second == f"input: {table}"
    assert rest[0].startswith("model: ")
    assert rest[1] == "prompt: Say {text}"
    assert batch(Engine(), "status", "out.csv", "--json") == 0
    shown = json.loads(told(capsys)[0])
    assert (shown["state"], shown["finished"], shown["total"]) == ("finished", 3, 3)
    assert shown["input"]["sha256"] is not None


def test_of_one_that_was_stopped_and_one_that_runs(
    batch: Batch, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states: list[Any] = []

    def answer(request: GenerationRequest) -> list[Event]:
        if said(request) == "two":
            from localchat.batch.beside import is_at_work

            states.append(is_at_work(Path("out.csv").absolute()))
        return text(request, "ok")

    assert batch(Engine(answer), "in.csv", "-o", "out.csv", "--limit", "2") == 0
    assert states == [True]
    told(capsys)
    assert batch(Engine(), "status", "out.csv") == 0
    out, err = told(capsys)
    assert out.splitlines()[0] == "stopped: 2 rows"
    assert err == ["The same command goes on from there."]


def test_labels_and_long_values_are_shown_as_they_are_read(
    batch: Batch, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: GenerationRequest) -> list[Event]:
        scores = (Score(-1.0, 1), Score(-2.0, 1))
        return [Scored(request.id, scores, Usage(1, 0, 0), Timings(0, 0, 0))]

    table.write_text("id,text\n1\n2,two\n")
    flags = ("--choices", "yes, no", "-s", "x" * 300, "--errors", "bad.csv")
    assert batch(Engine(answer), "in.csv", "-o", "out.csv", *flags) == 7
    _, err = told(capsys)
    assert re.match(r"out\.csv: 2 rows in \d+ s \([\d.]+ rows/s\); 1 failed\.", err[-3])
    assert err[-2] == "Error: 1 of 2 rows failed; bad.csv says why."
    assert batch(Engine(), "status", "out.csv") == 0
    first, *rest = told(capsys)[0].splitlines()
    assert first == "finished: 2 of 2 rows, 1 of them failed"
    assert "choices: yes, no" in rest
    assert f"system: {'x' * 200}…" in rest


def test_of_none(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(Engine(), "status", "out.csv") == 2
    assert told(capsys)[1] == [
        "Error: There is no batch of out.csv.",
        "Try: localchat batch IN -o out.csv",
    ]


@pytest.mark.parametrize("name", ["stat", "ststus", "rum"])
def test_a_command_that_is_misspelt(
    batch: Batch, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(Engine(), name, "out.csv") == 2
    error, hint = told(capsys)[1]
    assert error.startswith(f"Error: There is no input and no command {name!r}; perhaps ")
    assert hint == "Try: localchat batch --help"
    (tmp_path / name).write_text("text\none\n")
    assert batch(Engine(), name, "-o", "out.csv", "--format", "csv") == 0
