"""What the benchmarks share: a private engine, alternating rounds, and the line that is kept.

Nothing here knows what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from localchat import paths
from localchat.client.engines import running
from localchat.client.launcher import open_engine
from localchat.client.socket_client import SocketClient
from localchat.config import Settings
from localchat.engine.threads import default_threads
from localchat.errors import LocalchatError, ModelNotFound
from localchat.registry import installed, pull, resolve
from localchat.types import LoadOptions, ModelRef

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".bench" / "results.jsonl"

_BUSY = 0.5  # load average before we start that spoils a comparison


@dataclass(frozen=True, slots=True)
class Setup:
    """What a benchmark runs on."""

    model: ModelRef
    sha256: str
    threads: int
    rounds: int
    paths: paths.Paths
    """The private home; LOCALCHAT_HOME names it to child processes."""


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--model", metavar="PATH", help="a .gguf file; default: the starter model")
    result.add_argument(
        "--threads", type=int, default=default_threads(), help="compute threads of both sides"
    )
    result.add_argument("--rounds", type=int, default=rounds, help="after one round of warm-up")
    return result


@contextlib.contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[Setup]:
    """A private home with the model in it. Its engines are stopped at the end."""
    try:
        model = _find_model(arguments.model)
    except LocalchatError as error:
        sys.exit(f"Error: {error}" + (f"\nTry: {error.hint}" if error.hint else ""))
    # What was started ends with the script, also where `timeout` ends it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="localchat-bench-") as home, _environment(home):
        places = paths.find()
        if not arguments.model:
            model = _lend(model, places)
        sha256 = model.sha256 or _digest(Path(model.path))
        try:
            yield Setup(model, sha256, arguments.threads, arguments.rounds, places)
        finally:
            stop_engines(places)


def stop_engines(places: paths.Paths) -> None:
    for engine in running(places):
        engine.stop()


@contextlib.contextmanager
def engine(setup: Setup, threads: int | None = None) -> Iterator[SocketClient]:
    """A client of a warm engine with the default load options, but for the threads.

    `threads`: others than the benchmark's; 0 lets the engine choose.
    """
    options = LoadOptions(threads=setup.threads if threads is None else threads)
    with contextlib.closing(open_engine(setup.model, options, 60, setup.paths)) as client:
        yield client


def peer(name: str) -> Path:
    """One of llama.cpp's own programs, built by scripts/bench/peers."""
    folder = ROOT / ".bench" / f"peers-{version('llama-cpp-python')}" / "build" / "bin"
    if not (folder / name).is_file():
        sys.exit(f"Error: {name} is not built.\nTry: scripts/bench/peers")
    return folder / name


def llama_bench(setup: Setup, *options: str, own_threads: bool = False) -> float:
    """Tokens per second of one repetition of llama-bench, which warms itself up before.

    `own_threads`: as many as it takes by itself.
    """
    command = [str(peer("llama-bench")), "-m", setup.model.path]
    command += [] if own_threads else ["-t", str(setup.threads)]
    command += ["-b", "512", "-ub", "512", "-r", "1", "-o", "json", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)[0]["avg_ts"])


def alternate(
    rounds: int, measures: Mapping[str, Callable[[], float]], unit: str
) -> dict[str, list[float]]:
    """Each measure in turn, `rounds` times over, after a round that is not counted."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        shown = []
        for name, measure in measures.items():
            value = measure()
            shown.append(f"{name} {value:.1f} {unit}")
            if number:
                values[name].append(value)
        label = f"round {number} of {rounds}" if number else "warm-up"
        print(f"{label}: {', '.join(shown)}", file=sys.stderr, flush=True)
    return values


@dataclass(frozen=True, slots=True)
class Summary:
    """The middle and the spread of some rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Summary:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f} to {self.high:.1f})"


class Report:
    """Prints each figure as it is added; `save` appends all of them to the results."""

    def __init__(self, bench: str, setup: Setup) -> None:
        self._load = os.getloadavg()[0]
        self._figures: dict[str, Any] = {}
        self._bench = bench
        self._setup = setup
        if self._load > _BUSY:
            print(
                f"Note: the load average is {self._load:.1f}: other work spoils the comparison.",
                file=sys.stderr,
            )

    def add_rounds(self, name: str, values: list[float], unit: str) -> Summary:
        """A figure with its spread: the median and (lowest to highest)."""
        summary = Summary.of(values)
        self._figures[name] = {"unit": unit, "values": values, **asdict(summary)}
        print(f"{name}: {summary} {unit}, median of {len(values)} rounds")
        return summary

    def add_value(self, name: str, value: float, unit: str) -> None:
        """A single figure that nothing was aimed at."""
        self._figures[name] = {"unit": unit, "value": value}
        print(f"{name}: {value:.4g} {unit}")

    def add_goal(self, name: str, value: float, goal: str, *, met: bool) -> None:
        """A ratio, or another single figure, against what was aimed at."""
        self._figures[name] = {"value": value, "goal": goal, "met": met}
        print(f"{name}: {value:.3g}; the goal, {goal}, is {'met' if met else 'missed'}")

    def save(self) -> None:
        RESULTS.parent.mkdir(exist_ok=True)
        line = {
            "bench": self._bench,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": shlex.join([f"scripts/bench/{self._bench}", *sys.argv[1:]]),
            "commit": _commit(),
            "versions": {name: version(name) for name in ("localchat", "llama-cpp-python")}
            | {"python": platform.python_version()},
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": self._setup.threads,
            "load_before": self._load,
            "model": Path(self._setup.model.path).name,
            "model_sha256": self._setup.sha256,
            "figures": self._figures,
        }
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class _Silent:
    """Shows nothing of a download."""

    def progress(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def _find_model(path: str | None) -> ModelRef:
    """The file at `path`, or the default model: the user's own, downloaded if it is missing."""
    places = paths.find()
    if path:
        return resolve.resolve(str(Path(path).absolute()), places)
    name = Settings().model
    try:
        return resolve.resolve(name, places)
    except ModelNotFound:
        print(f"Downloading {name} ...", file=sys.stderr)
        return pull.pull(name, places, offline=False, watcher=_Silent()).model


def _lend(model: ModelRef, places: paths.Paths) -> ModelRef:
    """Installs the user's model in the private home, by a link; `localchat` finds it by name."""
    assert model.sha256
    link = installed.location(model.sha256, places)
    link.parent.mkdir(parents=True)
    link.symlink_to(model.path)
    return resolve.resolve(model.name, places)


@contextlib.contextmanager
def _environment(home: str) -> Iterator[None]:
    """Only `home` of all that can set something; the rest comes back at the end."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("LOCALCHAT_")}
    for name in kept:
        del os.environ[name]
    os.environ["LOCALCHAT_HOME"] = home
    try:
        yield
    finally:
        del os.environ["LOCALCHAT_HOME"]
        os.environ.update(kept)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _commit() -> str:
    """The commit that is checked out, with "+" if files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
