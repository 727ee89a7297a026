"""`localchat batch` as a process of its own: signals and pipes as a shell gives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import wait_until

ROOT = Path(__file__).parents[3]

# The command, on an engine that takes some time over each row and notes it.
PROGRAM = """
import sys, time
from localchat.cli import engine, main
from tests.batch import Engine, said, text

def answer(request):
    time.sleep(0.002)
    print(said(request), flush=True)
    return text(request, f"<{said(request)}>")

engine.open_engine = lambda *_: Engine(answer)
sys.exit(main.run(["batch", *sys.argv[1:]]))
"""


@pytest.fixture(autouse=True)
def _folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tiny: Callable[..., Path]) -> str:
    return str(tiny())


@contextmanager
def running(model: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, *arguments, "-m", model]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # As in a terminal, whatever started these tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def asked(output: str) -> list[str]:
    return output.splitlines()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_what_is_finished_and_the_same_command_goes_on(
    model: str, number: signal.Signals, code: int
) -> None:
    rows = [f"t{n}" for n in range(300)]
    Path("in.txt").write_text("\n".join(rows))
    with running(model, "in.txt", "-o", "out.csv", "--concurrency", "4") as process:
        assert process.stdout is not None
        before = [process.stdout.readline().strip() for _ in range(100)]
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code
    before += asked(out)
    done = [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()[1:]]
    assert 0 < len(done) < len(rows)
    said = err.splitlines()[-2:]
    assert said[0].startswith(f"Stopped: {len(done)} of ")
    assert said[1] == "The same command goes on from there."
    assert "Traceback" not in err
    with running(model, "in.txt", "-o", "out.csv") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert sorted(asked(out)) == sorted(set(rows) - set(done))
    assert [line.split(",")[0] for line in Path("out.csv").read_text().splitlines()[1:]] == rows


def test_rows_of_standard_input_are_answered_as_they_come(model: str) -> None:
    out = Path("out.csv")
    with running(model, "-", "--format", "lines", "-o", str(out), "--unordered") as process:
        assert process.stdin is not None
        process.stdin.write("one\n")
        process.stdin.flush()
        wait_until(lambda: out.exists() and "one,<one>" in out.read_text(), 60)
        process.stdin.write("two\n")
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert out.read_text() == "text,answer,error\none,<one>,\ntwo,<two>,\n"
