"""How fast is `localchat batch`, and what does it cost itself? See README.md beside this file."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import batch_rows
from batch_rows import GENERATED, LABELS, Rows
from common import Report, Setup, alternate, engine, parser, prepare
from servers import llama_server

from localchat.client.base import EngineClient

# Rows of a round; in a quick run, which takes some minutes, an eighth.
_ROWS = {"shared": 256, "plain": 64, "choices": 64, "overhead": 10_000}
_QUICK = 8
_BIG = 1e9  # bytes of the large file
_SHARED_GOAL, _PLAIN_GOAL, _CHOICES_GOAL = 1.6, 1.0, 5.0
_ROW_GOAL, _MEMORY_GOAL = 0.3, 80.0  # milliseconds, megabytes
_AT_ONCE = 32  # requests with a server
_ENDLESS = 256  # tokens of a label at which a reply that repeats itself is ended
_LONG_ROW = 100_000  # characters
_HERE = Path(__file__).parent

Answer = Callable[[Rows], float]
"""Answers rows; returns the seconds it took."""


def main() -> None:
    options = parser("the batch command", rounds=3)
    options.add_argument("--quick", action="store_true", help=f"a {_QUICK}th of the rows")
    options.add_argument("--only", choices=_ROWS, action="append", help="may be repeated")
    arguments = options.parse_args()
    part_of = _QUICK if arguments.quick else 1
    rows = {part: count // part_of for part, count in _ROWS.items()}
    parts = arguments.only or _ROWS
    with (
        prepare(arguments) as setup,
        tempfile.TemporaryDirectory(prefix="localchat-batch-") as folder,
    ):
        os.environ["LOCALCHAT_THREADS"] = str(setup.threads)  # the command finds the warm engine
        report = Report("batch_command", setup)
        command = _Command(arguments.model, Path(folder))
        if {"shared", "plain", "choices"}.intersection(parts):
            with engine(setup) as client:
                if "shared" in parts:
                    _shared(report, setup, client, command, rows["shared"])
                if "plain" in parts:
                    _plain(report, setup, client, command, rows["plain"])
                if "choices" in parts:
                    _choices(report, setup, client, command, rows["choices"])
        if "overhead" in parts:
            _overhead(report, command, arguments.rounds, rows["overhead"], _BIG / part_of)
        report.save()


class _Command:
    """`localchat batch` as a user types it, on rows that are written to a file before."""

    def __init__(self, model: str | None, folder: Path) -> None:
        self.folder = folder
        self._command = [str(Path(sys.executable).with_name("localchat")), "batch"]
        self.flags = ["--model", str(Path(model).absolute())] if model else []

    def run(self, rows: Rows, *flags: str) -> tuple[float, list[dict[str, Any]]]:
        """(Seconds from start to exit, the bodies of the answers)."""
        source, target = self.folder / "in.jsonl", self.folder / "out.jsonl"
        batch_rows.write(rows, source)
        command = [*self._command, str(source), "-o", str(target), *self.flags, *flags]
        start = time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"Error: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
        bodies = batch_rows.answered(target)
        assert len(bodies) == len(rows)
        self.clear()
        return seconds, bodies

    def clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _shared(
    report: Report, setup: Setup, client: EngineClient, command: _Command, count: int
) -> None:
    with llama_server(setup, 1) as one, llama_server(setup, 16) as sixteen:
        rivals: dict[str, Answer] = {
            "llama-server -np 1": lambda rows: one.answer_all(rows, GENERATED, _AT_ONCE),
            "llama-server -np 16": lambda rows: sixteen.answer_all(rows, GENERATED, _AT_ONCE),
            "llama_cpp.Llama": lambda rows: _llama_loop(setup, rows),
        }
        made = batch_rows.with_a_shared_beginning(client, count)
        ratio = _against(report, setup, command, "shared", rivals, made)
    goal = f"at least {_SHARED_GOAL}"
    report.add_goal("ratio with a shared beginning", ratio, goal, met=ratio >= _SHARED_GOAL)


def _plain(
    report: Report, setup: Setup, client: EngineClient, command: _Command, count: int
) -> None:
    with llama_server(setup, 16) as server:
        rivals: dict[str, Answer] = {
            "llama-server -np 16": lambda rows: server.answer_all(rows, GENERATED, _AT_ONCE)
        }
        made = batch_rows.with_nothing_shared(client, count)
        ratio = _against(report, setup, command, "plain", rivals, made)
    goal = f"at least {_PLAIN_GOAL}"
    report.add_goal("ratio with nothing shared", ratio, goal, met=ratio >= _PLAIN_GOAL)


def _against(
    report: Report,
    setup: Setup,
    command: _Command,
    part: str,
    rivals: dict[str, Answer],
    made: Iterator[Rows],
) -> float:
    """Rows a second by those of the best rival. Each round has rows that none has seen."""
    flags = batch_rows.flags(setup)
    current: Rows = []

    def ours() -> float:
        current[:] = next(made)
        seconds, bodies = command.run(current, *flags)
        assert all(body["usage"]["completion_tokens"] == GENERATED for body in bodies)
        return len(current) / seconds

    def by(rival: Answer) -> Callable[[], float]:
        return lambda: len(current) / rival(current)

    measures = {"localchat batch": ours} | {name: by(rival) for name, rival in rivals.items()}
    values = alternate(setup.rounds, measures, "rows/s")
    medians = {
        name: report.add_rounds(f"{part}: {name}", values[name], "rows/s").median for name in values
    }
    return medians["localchat batch"] / max(medians[name] for name in rivals)


def _choices(
    report: Report, setup: Setup, client: EngineClient, command: _Command, count: int
) -> None:
    made = batch_rows.to_label(client, count)
    current: Rows = []
    generated: list[int] = []

    def choosing() -> float:
        current[:] = next(made)
        return count / command.run(current, "--choices", ",".join(LABELS))[0]

    def generating() -> float:
        """As far as the model goes by itself: nothing makes it say a label and stop."""
        seconds, bodies = command.run(current, "--temp", "0", "--max-tokens", str(_ENDLESS))
        generated[:] = [body["usage"]["completion_tokens"] for body in bodies]
        return count / seconds

    def in_brief() -> float:
        return count / command.run(current, "--temp", "0", "--max-tokens", str(GENERATED))[0]

    measures = {"--choices": choosing, "generated": generating, "in 32 tokens": in_brief}
    values = alternate(setup.rounds, measures, "rows/s")
    medians = {
        name: report.add_rounds(f"label: {name}", values[name], "rows/s").median for name in values
    }
    report.add_value("tokens of a generated label", sum(generated) / count, "")
    ratio = medians["--choices"] / medians["generated"]
    goal = f"at least {_CHOICES_GOAL}"
    report.add_goal("ratio to generating the label", ratio, goal, met=ratio >= _CHOICES_GOAL)
    brief = medians["--choices"] / medians["in 32 tokens"]
    report.add_value("ratio to 32 tokens of it at most", brief, "")


def _overhead(report: Report, command: _Command, rounds: int, count: int, size: float) -> None:
    source = command.folder / "in.jsonl"
    rows: Rows = [[{"role": "user", "content": f"Say yes: {n}"}] for n in range(count)]
    figures = []
    for _ in range(rounds + 1):
        batch_rows.write(rows, source)
        figures.append(_scripted(command, source))
    milliseconds = [1000 * found["seconds"] / count for found in figures[1:]]
    median = report.add_rounds("overhead of a row", milliseconds, "ms").median
    report.add_goal("ms a row", median, f"at most {_ROW_GOAL}", met=median <= _ROW_GOAL)
    busy = min(1000 * found["cpu_seconds"] / count for found in figures)
    report.add_value("of that, processor time at least", busy, "ms")
    memory = max(found["megabytes"] for found in figures)
    goal = f"below {_MEMORY_GOAL:.0f} MB"
    report.add_goal(f"memory over {count:,} rows", memory, goal, met=memory < _MEMORY_GOAL)
    _write_big(source, size)
    memory = _scripted(command, source)["megabytes"]
    report.add_goal(f"memory over {size / 1e9:.2g} GB", memory, goal, met=memory < _MEMORY_GOAL)


def _scripted(command: _Command, source: Path) -> dict[str, float]:
    """The command on a client that answers at once."""
    target = command.folder / "out.jsonl"
    run = [sys.executable, str(_HERE / "scripted_batch.py"), str(source), "-o", str(target)]
    done = subprocess.run([*run, *command.flags], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    if figures["code"] not in (0, 7):  # 7: the line that is too long is a row that failed
        sys.exit(f"Error: {' '.join(run)}: {done.stderr}")
    command.clear()
    return figures


def _write_big(path: Path, size: float) -> None:
    """Rows of 100 KB; a tenth of the file is one line."""
    words = " ".join(random.Random(1).choices(["air", "box", "cat", "day"], k=_LONG_ROW // 4))
    with path.open("w", encoding="utf-8") as file:
        file.write('{"prompt": "')
        for _ in range(int(size / 10 / len(words))):
            file.write(words)
        file.write('"}\n')
        for number in itertools.count():
            if file.tell() >= size:
                return
            file.write(json.dumps({"prompt": f"{number} {words}"}) + "\n")


def _llama_loop(setup: Setup, rows: Rows) -> float:
    asked = {
        "model": setup.model.path,
        "threads": setup.threads,
        "rows": rows,
        "tokens": GENERATED,
        "forbidden": batch_rows.forbidden(setup),
    }
    run = [sys.executable, str(_HERE / "llama_loop.py")]
    done = subprocess.run(run, input=json.dumps(asked), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Error: {' '.join(run)}: {done.stderr}")
    return float(done.stdout)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
