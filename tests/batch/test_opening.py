"""Rows of a batch as conversations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localchat.batch.opening import open_row
from localchat.errors import ConversationNotFound, InputError, UsageError
from localchat.events import Event, Failed, ReasoningDelta, Scored, TextDelta
from localchat.events import Finished as EngineFinished
from localchat.paths import Paths
from localchat.session.options import from_json
from localchat.store.store import Store
from localchat.types import Choice, GenerationRequest, Score, Timings, Usage
from tests.batch import MODEL, Engine, batch, said, text


@pytest.fixture
def store(places: Paths) -> Iterator[Store]:
    with Store.open(places) as store:
        yield store


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("custom_id,text\na:1,Blue\n,Red\n")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def told(store: Store, id_: str) -> list[tuple[str, str]]:
    return [(one.role, one.content) for one in store.path(id_)]


def test_a_row_opens_with_what_was_asked_and_answered(table: Path, out: Path, store: Store) -> None:
    def thinking(request: GenerationRequest) -> list[Event]:
        return [ReasoningDelta(request.id, "Hm."), *text(request, "A colour.")]

    batch(
        table,
        out,
        Engine(thinking),
        prompt="What is {text}?",
        system="Be brief.",
        temperature=0.5,
        max_tokens=9,
    )
    table.unlink()  # the input is not needed
    id_ = open_row(f"{out}:a:1", store)
    assert told(store, id_) == [
        ("system", "Be brief."),
        ("user", "What is Blue?"),
        ("assistant", "A colour."),
    ]
    reply = store.path(id_)[-1]
    (made,) = reply.generations
    assert (reply.reasoning, reply.state) == ("Hm.", "complete")
    assert (made.provenance.model, made.provenance.model_sha256) == (MODEL.name, MODEL.sha256)
    assert from_json(made.provenance.params).params.max_tokens == 9
    assert from_json(made.provenance.params).system is None
    assert (made.finish_reason, made.seed, made.usage) == ("stop", 7, Usage(3, 0, 1))
    found = store.conversation(id_)
    assert found.settings["model"] == MODEL.name
    assert found.settings["sampling"]["temperature"] == 0.5
    assert "max_tokens" not in found.settings["sampling"]
    latest = store.latest()
    assert latest is not None
    assert latest.id == id_


def test_a_row_without_an_id_goes_by_its_line(table: Path, out: Path, store: Store) -> None:
    batch(table, out)
    assert told(store, open_row(f"{out}:line-3", store))[0] == ("user", "Red")


def test_it_is_one_conversation_however_often_it_is_opened(
    table: Path, out: Path, store: Store
) -> None:
    batch(table, out)
    first = open_row(f"{out}:a:1", store)
    assert open_row(f"{out}:a:1", store) == first
    assert open_row(f"{out}:line-3", store) != first


def test_another_answer_is_another_conversation(table: Path, out: Path, store: Store) -> None:
    batch(table, out)
    first = open_row(f"{out}:a:1", store)
    batch(table, out, prompt="What is {text}?", restart=True)
    assert open_row(f"{out}:a:1", store) != first


def test_several_answers_are_alternatives(table: Path, out: Path, store: Store) -> None:
    def two(request: GenerationRequest) -> list[Event]:
        ends = (Choice("stop", 1, 7), Choice("length", 2, 8))
        end = EngineFinished(request.id, "stop", Usage(3, 0, 3), Timings(0, 0, 0), 7, ends)
        return [TextDelta(request.id, "One"), TextDelta(request.id, "Two", 1), end]

    batch(table, out, Engine(two), n=2)
    id_ = open_row(f"{out}:a:1", store)
    assert told(store, id_)[-1] == ("assistant", "One")
    siblings = store.siblings(store.path(id_)[-1].id)
    assert [one.content for one in siblings] == ["One", "Two"]
    assert [one.generations[0].seed for one in siblings] == [7, 8]
    assert siblings[0].generations[0].usage is None


def test_a_choice_is_a_reply(table: Path, out: Path, store: Store) -> None:
    def scores(request: GenerationRequest) -> list[Event]:
        found = (Score(-2.0, 1), Score(-1.0, 1))
        return [Scored(request.id, found, Usage(3, 0, 0), Timings(0, 0, 0))]

    batch(table, out, Engine(scores), choices=["warm", "cold"])
    assert told(store, open_row(f"{out}:a:1", store))[-1] == ("assistant", "cold")


def test_a_row_that_failed_opens_with_why(table: Path, out: Path, store: Store) -> None:
    def fail(request: GenerationRequest) -> list[Event]:
        return [Failed(request.id, "ContextOverflow", f"Too long: {said(request)}")]

    batch(table, out, Engine(fail))
    last = store.path(open_row(f"{out}:a:1", store))[-1]
    assert (last.state, last.content) == ("failed", "")
    assert last.generations[0].error == "Too long: Blue"


def test_messages_and_values_of_the_row_itself_hold(tmp_path: Path, store: Store) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "Again"},
    ]
    body = {"messages": messages, "temperature": 0, "top_k": 3}
    file.write_text(json.dumps({"custom_id": "r", "body": body}) + "\n")
    batch(file, out)
    id_ = open_row(f"{out}:r", store)
    assert told(store, id_) == [
        *((m["role"], m["content"]) for m in messages),
        ("assistant", "<Again>"),
    ]
    sampling: Any = store.conversation(id_).settings["sampling"]
    assert (sampling["temperature"], sampling["top_k"]) == (0, 3)


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("nothing", UsageError, "'nothing' is no row of a batch"),
        (":x", UsageError, "':x' is no row of a batch"),
        ("elsewhere.csv:x", InputError, "There is no batch of elsewhere.csv"),
    ],
)
def test_what_is_no_row_is_named(
    name: str, kind: type[Exception], sentence: str, store: Store
) -> None:
    with pytest.raises(kind, match=sentence):
        open_row(name, store)


def test_a_row_that_is_not_there_or_was_never_asked_is_named(
    tmp_path: Path, out: Path, store: Store
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"custom_id": "r", "prompt": 3}\n')
    batch(file, out)
    with pytest.raises(ConversationNotFound, match="no finished row 'q'"):
        open_row(f"{out}:q", store)
    with pytest.raises(UsageError, match="The row 'r' was never asked: The row has no"):
        open_row(f"{out}:r", store)
    (tmp_path / "out.csv.batch" / "manifest.json").unlink()
    with pytest.raises(InputError, match="There is no batch of"):
        open_row(f"{out}:r", store)
