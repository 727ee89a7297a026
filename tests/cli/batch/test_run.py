"""`localchat batch` as it is typed: what it prints where, its exit codes, its signals."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.errors import ModelLoadFailed
from localchat.events import Event, Failed, Rendered
from localchat.paths import Paths
from localchat.speeds import Speed
from localchat.types import GenerationRequest
from tests.batch import Engine, said, text
from tests.cli.batch.conftest import Batch
from tests.cli.batch.told import told
from tests.cli.terminal import on_terminal


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,one\n2,two\n3,three\n")
    return path


def rows(name: str = "out.csv") -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("table")
class TestFine:
    def test_a_prompt_for_each_row(self, batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--prompt", "Say {text}.") == 0
        assert [row["answer"] for row in rows()] == ["<Say one.>", "<Say two.>", "<Say three.>"]
        out, err = told(capsys)
        assert out == ""
        assert err[0].startswith("Loading ")
        assert err[1:] == ["out.csv: 3 rows in RATES."]

    def test_again_it_is_done_already(
        self, batch: Batch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert batch(Engine(), "in.csv", "-o", "out.csv") == 0
        told(capsys)
        engine = Engine()
        assert batch(engine, "in.csv", "-o", "out.csv") == 0
        assert told(capsys) == ("", ["out.csv: 3 rows, all of them finished before."])
        assert engine.requests == []
        with Path("in.csv").open("a") as file:
            file.write("4,four\n")
        assert batch(engine, "in.csv", "-o", "out.csv") == 0
        _, err = told(capsys)
        assert err[0] == "Note: in.csv has changed; rows that are as before keep their answers."
        assert err[-1] == "out.csv: 4 rows, 3 of them finished before, 1 in RATES."

    def test_flags_reach_the_engine(self, batch: Batch) -> None:
        engine = Engine()
        flags = ["-s", "Be brief.", "--temp", "0.5", "--seed", "3", "--max-tokens", "9"]
        flags += ["--stop", "END", "--n", "2", "--reasoning", "off", "--concurrency", "1"]
        assert batch(engine, "in.csv", "-o", "out.csv", *flags) == 0
        request = engine.requests[0]
        assert [message.content for message in request.messages] == ["Be brief.", "one"]
        params = request.params
        assert (params.temperature, params.seed, params.max_tokens) == (0.5, 3, 9)
        assert (params.stop, params.n, request.reasoning) == (("END",), 2, "off")
        assert engine.most == 1

    def test_standard_input(self, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
        for data, format_ in ((b"one\ntwo\n", ()), (b"text\none\ntwo\n", ("--format", "csv"))):
            stdin = io.TextIOWrapper(io.BytesIO(data))
            monkeypatch.setattr("sys.stdin", stdin)
            assert batch(Engine(), "-", "-o", "out.csv", "--restart", *format_) == 0
            assert [row["answer"] for row in rows()] == ["<one>", "<two>"]

    def test_a_schema_of_a_pydantic_model(self, batch: Batch) -> None:
        Path("person.py").write_text(
            "from pydantic import BaseModel\n\n\n"
            "class Person(BaseModel):\n    name: str\n    age: int\n"
        )
        engine = Engine(lambda request: text(request, '{"name": "Ada", "age": 36}'))
        flags = ("--schema", "person.py:Person", "--errors", "bad.csv")
        assert batch(engine, "in.csv", "-o", "out.csv", *flags) == 0
        assert rows()[0] == {"id": "1", "text": "one", "name": "Ada", "age": "36"}
        assert rows("bad.csv") == []
        assert engine.requests[0].params.json_schema is not None

    def test_progress_for_programs(self, batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--json-progress") == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert events[0]["event"] == "doing"
        assert events[-1]["event"] == "finished"
        assert {key: events[-1][key] for key in ("done", "total", "failed", "from_before")} == {
            "done": 3,
            "total": 3,
            "failed": 0,
            "from_before": 0,
        }

    def test_answers_that_were_cut_are_counted(
        self, batch: Batch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        engine = Engine(lambda request: text(request, "x", reason="length"))
        assert batch(engine, "in.csv", "-o", "out.csv") == 0
        assert "Note: 3 answers were cut off" in told(capsys)[1][-1]

    def test_a_sample_and_a_limit(self, batch: Batch) -> None:
        assert batch(Engine(), "in.csv", "-o", "a.csv", "--sample", "2") == 0
        assert batch(Engine(), "in.csv", "-o", "b.csv", "--sample", "2") == 0
        assert rows("a.csv") == rows("b.csv")
        assert len(rows("a.csv")) == 2
        assert batch(Engine(), "in.csv", "-o", "c.csv", "--limit", "1") == 0
        assert [row["id"] for row in rows("c.csv")] == ["1"]


@pytest.mark.usefixtures("table")
class TestNotFine:
    def test_rows_that_fail(self, batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
        def answer(request: GenerationRequest) -> list[Event]:
            if said(request) == "two":
                return [Failed(request.id, "ContextOverflow", "Too long.")]
            return text(request, "ok")

        assert batch(Engine(answer), "in.csv", "-o", "out.csv") == 7
        assert [row["error"] for row in rows()] == ["", "line 3: Too long.", ""]
        assert told(capsys)[1][1:] == [
            "out.csv: 3 rows in RATES; 1 failed.",
            "Error: 1 of 3 rows failed; out.csv says why.",
            "Try: the same command with --retry-failed",
        ]
        assert batch(Engine(), "in.csv", "-o", "out.csv") == 7
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--retry-failed") == 0

    def test_a_run_that_fails(self, batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
        class Broken(Engine):
            def submit(self, request: GenerationRequest) -> None:
                raise OSError(5, "Input/output error")

        assert batch(Broken(), "in.csv", "-o", "out.csv") == 1
        assert "Input/output error" in capsys.readouterr().err

    def test_an_engine_that_can_not_be_had(
        self, batch: Batch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*_: object) -> None:
            raise ModelLoadFailed("The file is no model.", "localchat pull")

        monkeypatch.setattr("localchat.cli.batch.run.opened_engine", fail)
        assert batch(Engine(), "in.csv", "-o", "out.csv") == 1
        assert told(capsys)[1][-2:] == ["Error: The file is no model.", "Try: localchat pull"]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("in.csv",), "It is not said where answers go: -o OUT."),
            (("nothing.csv", "-o", "out.csv"), "nothing.csv can't be read: No such file"),
            (("in.csv", "-o", "out.txt"), "doesn't say by its ending what format to write."),
            (("in.csv", "-o", "in.csv"), "exists already, so it is left alone."),
            (
                ("in.csv", "-o", "out.csv", "--prompt", "{txt}"),
                "in.csv has no column 'txt'; perhaps 'text' is meant. It has: id, text.",
            ),
            (("in.csv", "-o", "out.csv", "--prompt", "{text!r}"), "is no template"),
            (("in.csv", "-o", "out.csv", "--choices", "a"), "two or more different texts"),
            (("in.csv", "-o", "out.csv", "--concurrency", "many"), "--concurrency can't be"),
            (
                ("in.csv", "-o", "out.csv", "--limit", "1", "--sample", "1"),
                "--limit and --sample both choose rows",
            ),
            (("-", "-o", "out.csv"), "There is nothing on standard input."),
        ],
    )
    def test_what_can_not_be_done_is_said_and_leaves_nothing(
        self,
        batch: Batch,
        capsys: pytest.CaptureFixture[str],
        arguments: tuple[str, ...],
        error: str,
    ) -> None:
        before = sorted(Path().iterdir())
        assert batch(Engine(), *arguments) == 2
        assert error in told(capsys)[1][0]
        assert sorted(Path().iterdir()) == before

    def test_other_parameters(self, batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--temp", "0") == 0
        told(capsys)
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--temp", "1") == 2
        error, hint = told(capsys)[1]
        assert error.endswith(
            "out.csv was begun with other parameters: temperature was 0.0, is 1.0 now."
        )
        assert hint == "Try: Name another output with -o, or begin anew with --restart."
        assert batch(Engine(), "in.csv", "-o", "out.csv", "--temp", "1", "--restart") == 0


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """A shell makes what it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
class TestSignals:
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
    )
    def test_what_is_finished_is_written(
        self,
        batch: Batch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        number: signal.Signals,
        code: int,
    ) -> None:
        count = 400
        (tmp_path / "in.txt").write_text("".join(f"t{n}\n" for n in range(count)))
        before = signal.getsignal(number)

        def answer(request: GenerationRequest) -> list[Event]:
            if said(request) == "t300":
                os.kill(os.getpid(), number)
            return text(request, "ok")

        assert batch(Engine(answer), "in.txt", "-o", "out.csv", "--concurrency", "4") == code
        assert signal.getsignal(number) is before
        done = len(rows())
        err = [line for line in told(capsys)[1] if line]
        assert err[-2].startswith(f"Stopped: {done:,} of ")
        assert err[-2].endswith("rows are finished, and out.csv has them.")
        assert err[-1] == "The same command goes on from there."
        engine = Engine()
        assert batch(engine, "in.txt", "-o", "out.csv") == 0
        assert len(engine.requests) == count - done
        assert [row["text"] for row in rows()] == [f"t{n}" for n in range(count)]


class TestDryRun:
    def test_prompts_and_amounts(
        self,
        batch: Batch,
        table: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def answer(request: GenerationRequest) -> list[Event]:
            assert request.render_only
            return [Rendered(request.id, f"[{said(request)}]", 50)]

        table.write_text("text\n" + "".join(f"t{n}\n" for n in range(10)) + "a,b\n" + "tn\n" * 89)
        flags = ("in.csv", "--dry-run", "--max-tokens", "10", "-o", "out.csv")
        monkeypatch.setattr("localchat.speeds.find", lambda *_: Speed(100.0, 50, 500.0, 3))
        assert batch(Engine(answer), *flags) == 0
        out, err = told(capsys)
        assert out == "line-2: 50 tokens\n[t0]\nline-3: 50 tokens\n[t1]\nline-4: 50 tokens\n[t2]\n"
        assert err[1] == "Line 12 can't be asked: The row has 2 columns, the header 1."
        assert re.match(
            r"about \d+ rows with prompts of 50 tokens on average, [\d,]+ in all; answers of 10"
            r" tokens at most\.",
            err[2],
        )
        assert err[3].startswith("At most ")
        assert not Path("out.csv").exists()
        assert not Path("out.csv.batch").exists()

    def test_a_model_that_has_not_run_yet(
        self, batch: Batch, table: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        engine = Engine(lambda request: [Rendered(request.id, "", 50)])
        assert batch(engine, "in.csv", "--dry-run") == 0
        _, err = told(capsys)
        assert err[-2].startswith("3 rows with prompts of 50 tokens on average, 150 in all;")
        assert err[-2].endswith("answers have no limit: --max-tokens gives them one.")
        assert err[-1].startswith("How long it takes can be told after the first rows")


def test_on_a_terminal_with_a_real_model(
    installed_starter: Path, places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar while it runs, of which nothing is left; typed Ctrl-C ends it, and it goes on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("".join(f"Say the number {n}.\n" for n in range(40)))
    command = ("batch", "in.txt", "-o", "out.jsonl", "--max-tokens", "4", "--concurrency", "2")
    code, screen = on_terminal(*command, answer=(b"tokens/s", b"\x03"))
    assert code == 130
    assert b"The same command goes on from there." in screen
    before = len((tmp_path / "out.jsonl").read_text().splitlines())
    assert before < 40
    code, screen = on_terminal(*command)
    assert code == 0
    assert b"out.jsonl: 40 rows" in screen
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [f"Say the number {n}." for n in range(40)]
    assert all(line["answer"] for line in lines)
