"""`batch.run` as scripts use it: results as they come, and the same file as the command's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import localchat.batch
from localchat import batch
from localchat.batch.outcome import RowError
from localchat.errors import UsageError
from localchat.events import Event, Scored, TokenLogprobs
from localchat.types import GenerationRequest, Score, Timings, Usage
from tests.batch import Engine, said, text


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(localchat.batch, "open_engine", lambda *_: engine)
    return engine


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path]) -> None:
    monkeypatch.setenv("LOCALCHAT_MODEL", str(tiny()))


def test_texts_mappings_and_messages(engine: Engine) -> None:
    rows: list[Any] = [
        "one",
        {"prompt": "two"},
        [{"role": "user", "content": "three"}],
        4,
        {"a": {1}},
    ]
    results = sorted(batch.run(rows), key=lambda result: result.number)
    assert [result.text for result in results] == ["<one>", "<two>", "<three>", None, None]
    assert results[0].columns == {"text": "one"}
    assert results[1].usage == Usage(1, 0, 1)
    assert results[1].error is None
    assert isinstance(results[3].error, RowError)
    assert results[4].error is not None
    assert results[4].error.message.startswith("The row is no JSON: Object of type set")
    assert engine.is_closed


def test_a_file_goes_on_and_gives_all_of_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,one\n2,two\n3,three\n")
    out = tmp_path / "out.csv"

    def results() -> Any:
        return batch.run(tmp_path / "in.csv", prompt="Say {text}", output=out, concurrency=1)

    for result in results():
        assert result.text == "<Say one>"
        break
    assert "<Say one>" in out.read_text()
    again = {result.custom_id: result.text for result in results()}
    assert again == {"line-2": "<Say one>", "line-3": "<Say two>", "line-4": "<Say three>"}
    assert sorted(map(said, engine.requests))[:3] == ["Say one", "Say three", "Say two"]
    assert len(out.read_text().splitlines()) == 4


def test_rows_of_a_program_may_go_on_too(engine: Engine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = [{"custom_id": name, "prompt": name} for name in "abc"]
    assert len(list(batch.run(rows[:2], output=out))) == 2
    assert len(list(batch.run([rows[2], rows[0]], output=out))) == 2
    assert sorted(map(said, engine.requests)) == ["a", "b", "c"]
    # What is not among the rows any more is not in the output either.
    written = [json.loads(line)["custom_id"] for line in out.read_text().splitlines()]
    assert written == ["c", "a"]


def test_nothing_is_kept_without_an_output(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(list(batch.run(["a", "b"]))) == 2
    assert list(tmp_path.glob("localchat-*")) == []


def test_a_pydantic_model_makes_results(engine: Engine) -> None:
    class City(BaseModel):
        name: str

    engine._answer = lambda request: text(request, '{"name": "Lima"}')
    (result,) = batch.run(["Where?"], schema=City)
    assert result.value == City(name="Lima")
    (result,) = batch.run(["Where?"], schema=City.model_json_schema())
    assert result.value == {"name": "Lima"}


def test_choices_and_sampling(engine: Engine) -> None:
    def answer(request: GenerationRequest) -> list[Event]:
        return [Scored(request.id, (Score(-1.0, 1),) * 2, Usage(1, 0, 0), Timings(0, 0, 0))]

    engine._answer = answer
    (result,) = batch.run(["x"], choices=["a", "b"], temperature=0.5)
    assert result.probabilities == {"a": 0.5, "b": 0.5}
    assert engine.requests[0].params.temperature == 0.5
    with pytest.raises(UsageError, match="temprature"):
        list(batch.run(["x"], temprature=0.5))


def test_log_probabilities_are_openai_s(engine: Engine, tmp_path: Path) -> None:
    def answer(request: GenerationRequest) -> list[Event]:
        token = TokenLogprobs(request.id, "x", -0.1, (("x", -0.1), ("y", -2.0)))
        return [token, *text(request, "x")]

    engine._answer = answer
    body = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True, "top_logprobs": 2}
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "body": body}) + "\n")
    list(batch.run(path, output=out))
    choice = json.loads(out.read_text())["response"]["body"]["choices"][0]
    tops = [{"token": "x", "logprob": -0.1}, {"token": "y", "logprob": -2.0}]
    assert choice["logprobs"] == {
        "content": [{"token": "x", "logprob": -0.1, "top_logprobs": tops}]
    }
    assert engine.requests[0].params.logprobs == 2


def test_a_sample_of_rows_that_can_be_read_once_is_refused(engine: Engine) -> None:
    with pytest.raises(UsageError, match="can be read once only"):
        list(batch.run(["a"], sample=1))
