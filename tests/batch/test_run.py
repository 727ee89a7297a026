"""Whole runs on engines whose answers are chosen: what is asked, kept, written and gone on with."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from localchat.batch.intake import Known
from localchat.batch.outcome import RowError
from localchat.errors import UsageError
from localchat.events import Event, Failed, Scored
from localchat.types import GenerationRequest, Message, Score, Timings, Usage
from tests.batch import Engine, Engines, answered, batch, begin, entries, lines, rows, said, text
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("home")


def fail_odd(request: GenerationRequest) -> list[Event]:
    if int(said(request)[1:]) % 2:
        return [Failed(request.id, "ContextOverflow", "Too long.")]
    return text(request, "ok")


class TestWhole:
    def test_a_table_gets_a_column(self, table: Path, out: Path) -> None:
        engine = Engine()
        run = batch(table, out, engine, prompt="Say {text}.")
        assert rows(out)[1] == {"id": "1", "text": "t1", "answer": "<Say t1.>", "error": ""}
        assert [row["id"] for row in rows(out)] == ["0", "1", "2", "3", "4"]
        assert run.is_complete
        assert (run.tally.finished, run.tally.failed, run.tally.total) == (5, 0, 5)
        assert engine.is_closed
        assert {request.priority for request in engine.requests} == {"batch"}
        assert not list(out.parent.glob(".*.new"))

    def test_nothing_to_ask_starts_no_engine(self, table: Path, out: Path) -> None:
        table.write_text("id,text\n")
        engines = Engines(Engine())
        run = batch(table, out, engines)
        assert engines.opened == 0
        assert run.is_complete
        assert out.read_text() == "id,text,answer,error\n"

    def test_rows_are_with_the_engine_together(self, table: Path, out: Path) -> None:
        engine = Engine()
        engine.holds = True
        run = begin(table, out, engine, concurrency=3)
        threading.Timer(0.2, engine.release).start()
        assert len(answered(run)) == 5
        assert engine.most == 3

    def test_a_row_is_finished_while_the_input_has_no_more(self, tmp_path: Path) -> None:
        """Another thread reads: the answer to the first row doesn't wait for the second."""
        import os

        pipe, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        os.mkfifo(pipe)
        goes_on = threading.Event()

        def write() -> None:
            with pipe.open("wb", buffering=0) as file:
                file.write(b'{"text": "one"}\n')
                goes_on.wait(10)
                file.write(b'{"text": "two"}\n')

        thread = threading.Thread(target=write)
        thread.start()
        with begin(pipe, out, Engine()) as run:
            groups = run.groups()
            assert len(next(groups)) == 1
            assert len(entries(out)) == 1
            goes_on.set()
            assert len(next(groups)) == 1
        thread.join()

    def test_bad_rows_stop_nothing(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        path.write_text('{"a": "x"}\n{oops\n{"b": 1}\n{"a": "y"}\n')
        run = batch(path, out, prompt="{a}")
        assert (run.tally.finished, run.tally.failed) == (4, 2)
        first, second, third, last = lines(out)
        assert (first["answer"], first["error"], last["answer"]) == ("<x>", None, "<y>")
        assert second["custom_id"] == "line-2"
        assert second["error"].startswith("line 2: The row is no JSON")
        assert third == {"b": 1, "answer": None, "error": "line 3: The row has no column 'a'."}

    def test_the_engine_says_why_a_row_fails(self, table: Path, out: Path) -> None:
        run = batch(table, out, Engine(fail_odd))
        assert [row["error"] for row in rows(out)] == [
            "",
            "line 3: Too long.",
            "",
            "line 5: Too long.",
            "",
        ]
        assert entries(out)[1].outcome.error == RowError("ContextOverflow", "Too long.")
        assert run.tally.failed == 2

    def test_errors_may_have_a_file_of_their_own(self, table: Path, out: Path) -> None:
        errors = out.with_name("errors.csv")
        batch(table, out, Engine(fail_odd), errors=errors)
        assert [row["id"] for row in rows(out)] == ["0", "2", "4"]
        assert list(rows(out)[0]) == ["id", "text", "answer"]
        assert rows(errors)[1] == {
            "id": "3",
            "text": "t3",
            "answer": "",
            "error": "line 5: Too long.",
        }

    def test_an_id_that_is_taken(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        path.write_text('{"custom_id": "a", "text": "1"}\n{"custom_id": "a", "text": "2"}\n')
        for _ in range(2):
            run = batch(path, out)
            assert [entry.custom_id for entry in entries(out)] == ["a", "line-2"]
            assert lines(out)[0]["answer"] == "<1>"
            assert lines(out)[1]["error"] == "line 2: Another row before has the custom_id 'a'."
        assert run.tally.known == 2

    def test_many_ids_are_told_apart_out_of_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("localchat.batch.journal._MOST_SEEN", 3)
        path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        ids = ["a", "b", "c", "d", "a", "e", "d"]
        path.write_text("".join(f'{{"custom_id": "{id_}", "text": "x"}}\n' for id_ in ids))
        batch(path, out)
        errors = [line["error"] is not None for line in lines(out)]
        assert errors == [False, False, False, False, True, False, True]

    def test_a_limit_and_a_sample(self, table: Path, out: Path) -> None:
        engine = Engine()
        batch(table, out, engine, limit=2)
        assert [row["id"] for row in rows(out)] == ["0", "1"]
        batch(table, out, engine, chosen=frozenset({2, 5}))
        assert [row["id"] for row in rows(out)] == ["0", "1", "4"]
        run = batch(table, out, engine)
        assert [row["id"] for row in rows(out)] == ["0", "1", "2", "3", "4"]
        assert (run.tally.known, len(engine.requests)) == (3, 5)

    def test_rows_are_kept_while_nobody_takes_them(self, table: Path, out: Path) -> None:
        with begin(table, out, Engine(), concurrency=1) as run:
            next(run.groups())
            wait_until(lambda: len(entries(out)) == 5)

    def test_arrival_order_is_written_at_once(self, table: Path, out: Path) -> None:
        engine = Engine()
        engine.holds = True
        run = begin(table, out, engine, in_order=False, concurrency=1)
        threading.Timer(0.05, engine.release).start()
        seen = 0
        with run:
            for group in run.groups():
                seen += len(group)
                assert len(rows(out)) >= seen
        assert seen == 5

    def test_a_table_whose_columns_come_row_by_row(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
        path.write_text('{"text": "x"}\n{"text": "y", "more": [1], "answer": "?"}\n')
        batch(path, out)
        assert rows(out)[1] == {
            "text": "y",
            "more": "[1]",
            "answer": "?",
            "answer_2": "<y>",
            "error": "",
        }
        with pytest.raises(UsageError, match="needs to know its columns before its first row"):
            begin(path, out.with_name("b.csv"), Engine(), in_order=False)


class TestForms:
    SCHEMA: ClassVar = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "home": {"$ref": "#/$defs/Home"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "$defs": {"Home": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }

    def test_fields_become_columns(self, table: Path, out: Path) -> None:
        value = {"name": "é", "home": {"city": "Ü"}, "tags": ["a"]}
        batch(table, out, Engine(lambda r: text(r, json.dumps(value))), schema=self.SCHEMA)
        assert rows(out)[0] == {
            "id": "0",
            "text": "t0",
            "name": "é",
            "home.city": "Ü",
            "tags": '["a"]',
            "error": "",
        }

    def test_an_answer_that_was_cut_is_asked_for_again(self, table: Path, out: Path) -> None:
        def answer(request: GenerationRequest) -> list[Event]:
            if len(request.messages) == 1:
                return text(request, '{"name": ', reason="length")
            return text(request, '{"name": "x"}')

        engine = Engine(answer)
        run = batch(table, out, engine, schema=self.SCHEMA)
        assert {row["name"] for row in rows(out)} == {"x"}
        assert run.tally.failed == 0
        again = next(request for request in engine.requests if len(request.messages) > 1)
        assert again.messages[1] == Message("assistant", '{"name": ')
        assert "It was cut off" in again.messages[2].content
        # Both tries are paid for: one piece each.
        assert entries(out)[0].outcome.usage.completion_tokens == 2

    def test_but_only_once(self, table: Path, out: Path) -> None:
        engine = Engine(lambda request: text(request, "{", reason="length"))
        run = batch(table, out, engine, schema=self.SCHEMA)
        assert (len(engine.requests), run.tally.failed) == (10, 5)
        assert entries(out)[0].outcome.error is not None
        assert "not even the second time" in rows(out)[0]["error"]

    def test_a_model_may_ask_for_more(self, table: Path, out: Path) -> None:
        from pydantic import BaseModel, field_validator

        class Even(BaseModel):
            number: int

            @field_validator("number")
            @classmethod
            def is_even(cls, value: int) -> int:
                if value % 2:
                    raise ValueError("the number must be even")
                return value

        def answer(request: GenerationRequest) -> list[Event]:
            return text(request, '{"number": 4}' if "be even" in said(request) else '{"number": 3}')

        batch(table, out, Engine(answer), schema=Even)
        assert {row["number"] for row in rows(out)} == {"4"}

    def test_a_schema_that_none_can_keep_ends_the_run(self, table: Path, out: Path) -> None:
        engine = Engine(lambda r: [Failed(r.id, "InvalidGrammar", "There is no such type.")])
        with pytest.raises(UsageError, match="no such type"):
            batch(table, out, engine, schema={"type": "x"})
        assert entries(out) == []

    def test_choices_are_scored(self, table: Path, out: Path) -> None:
        def answer(request: GenerationRequest) -> list[Event]:
            assert request.continuations == ("yes", "no")
            scores = (Score(-3.0, 2), Score(-1.0, 1))
            return [Scored(request.id, scores, Usage(3, 0, 0), Timings(0, 0, 0))]

        batch(table, out, Engine(answer), choices=("yes", "no"))
        row = rows(out)[0]
        assert row["answer"] == "no"
        assert float(row["probability_yes"]) == pytest.approx(0.119203)
        assert float(row["probability_no"]) == pytest.approx(0.880797)

    @pytest.mark.parametrize(
        "given",
        [
            {"choices": ("a",)},
            {"choices": ("a", "a")},
            {"choices": ("a", "")},
            {"choices": ("a", "b"), "n": 2},
            {"choices": ("a", "b"), "grammar": "root ::= x"},
            {"choices": ("a", "b"), "schema": SCHEMA},
        ],
    )
    def test_choices_that_make_no_sense(self, table: Path, out: Path, given: Any) -> None:
        with pytest.raises(UsageError):
            begin(table, out, Engine(), **given)
        assert not out.exists()


class TestGoingOn:
    def test_what_is_finished_is_not_asked_again(self, table: Path, out: Path) -> None:
        first = Engine()
        with begin(table, out, first, concurrency=1) as run:
            next(run.groups())
        done = len(entries(out))
        assert len(rows(out)) == done  # as far as it goes
        second = Engine()
        run = batch(table, out, second)
        assert run.tally.known == done
        assert len(second.requests) == 5 - done
        assert [row["id"] for row in rows(out)] == ["0", "1", "2", "3", "4"]

    def test_leaving_cancels_what_is_with_the_engine(self, table: Path, out: Path) -> None:
        engine = Engine()
        engine.holds = True
        with begin(table, out, engine) as run:
            run._flight.start()
            wait_until(lambda: len(engine.requests) == 5)
        assert engine.is_closed
        assert engine._cancelled == {request.id for request in engine.requests}
        assert entries(out) == []
        assert rows(out) == []

    def test_failed_rows_only_when_asked_to(self, table: Path, out: Path) -> None:
        batch(table, out, Engine(fail_odd))
        engine = Engine()
        run = batch(table, out, engine)
        assert (engine.requests, run.tally.known_failed) == ([], 2)
        run = batch(table, out, engine, retry_failed=True)
        assert sorted(map(said, engine.requests)) == ["t1", "t3"]
        assert (run.tally.known, run.tally.known_failed, run.tally.failed) == (3, 0, 0)
        assert [row["answer"] for row in rows(out)] == ["ok", "<t1>", "ok", "<t3>", "ok"]

    @pytest.mark.parametrize(
        ("given", "what"),
        [
            ({"prompt": "{id}"}, "prompt was"),
            ({"temperature": 0.3}, "temperature was"),
            ({"system": "S"}, 'system was not set, is "S" now'),
            ({"choices": ("a", "b")}, "choices was"),
            ({"schema": {"type": "object"}}, "json_schema was not set"),
            ({"n": 2}, "n was"),
        ],
    )
    def test_other_parameters_are_refused(
        self, table: Path, out: Path, given: Any, what: str
    ) -> None:
        batch(table, out)
        before = out.read_text()
        with pytest.raises(UsageError, match=what) as caught:
            begin(table, out, Engine(), **given)
        assert caught.value.hint is not None
        assert "--restart" in caught.value.hint
        assert out.read_text() == before
        batch(table, out)  # as before, it goes on

    def test_restart_begins_anew(self, table: Path, out: Path) -> None:
        batch(table, out)
        engine = Engine()
        run = batch(table, out, engine, prompt="New {text}", restart=True)
        assert (len(engine.requests), run.tally.known) == (5, 0)
        assert rows(out)[0]["answer"] == "<New t0>"

    def test_a_changed_input_keeps_what_is_the_same(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"

        def write(*pairs: tuple[str, str]) -> None:
            rows = [{"custom_id": id_, "text": said} for id_, said in pairs]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))

        write(("a", "1"), ("b", "2"), ("c", "3"))
        batch(path, out)
        write(("new", "0"), ("c", "3"), ("a", "changed"))
        engine = Engine()
        run = begin(path, out, engine)
        assert run.input_has_changed
        known = [one for one in answered(run) if isinstance(one, Known)]
        assert [one.row.custom_id for one in known] == ["c"]
        assert sorted(map(said, engine.requests)) == ["0", "changed"]
        found = [(line["custom_id"], line["answer"]) for line in lines(out)]
        assert found == [("new", "<0>"), ("c", "<3>"), ("a", "<changed>")]
        before = out.read_text()
        run = batch(path, out, engine)
        assert not run.input_has_changed
        assert (out.read_text(), run.kept) == (before, 3)
        # What had gone is known when it comes again.
        write(("b", "2"))
        run = batch(path, out, engine)
        assert (run.tally.known, len(engine.requests), run.kept) == (1, 2, 1)
        assert [line["custom_id"] for line in lines(out)] == ["b"]

    def test_rows_that_were_added(self, table: Path, out: Path) -> None:
        batch(table, out)
        with table.open("a") as file:
            file.write("5,t5\n")
        engine = Engine()
        batch(table, out, engine)
        assert list(map(said, engine.requests)) == ["t5"]
        assert len(rows(out)) == 6
