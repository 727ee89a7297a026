"""Several processes that want one file, and users who lose patience."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.registry.faults import Fault, Kind
from tests.registry.fetching import REPO, Fetching
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

FILE = "tiny.Q8_0.gguf"
PART = 50_000
PULL = [sys.executable, "-P", "-m", "localchat.cli.main", "pull", f"{REPO}:Q8_0"]


@pytest.fixture
def model(hub: Hub, fetching: Fetching, tiny: Callable[..., Path]) -> bytes:
    """A real model on the hub, of which only a part comes before `hub.release`."""
    content = tiny().read_bytes()
    hub.add(REPO, FILE, content)
    hub.schedule(Fault(Kind.STALL, at=PART))
    return content


@contextmanager
def pulling(log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The real command, which writes to `log`."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*PULL, *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            # Where the tests were started in the background, Ctrl-C would be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def events(log: Path) -> list[dict[str, object]]:
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def shown(log: Path) -> list[object]:
    return [event["done"] for event in events(log) if event["event"] == "progress"]


def stopped(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(20)


def test_eight_pulls_fetch_once(hub: Hub, model: bytes, tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(8)]
    with ExitStack() as stack:
        pulls = [stack.enter_context(pulling(log, "--json")) for log in logs]
        wait_until(lambda: all(PART in shown(log) for log in logs), 60)
        hub.release()
        assert [process.wait(60) for process in pulls] == [0] * 8
    assert len(hub.bodies) == 1
    ends = [events(log)[-1] for log in logs]
    assert {end["event"] for end in ends} == {"done"}
    (path,) = {str(end["path"]) for end in ends}
    assert Path(path).read_bytes() == model
    for log in logs:
        assert shown(log) == sorted(shown(log), key=int)  # type: ignore[arg-type]
        assert shown(log)[-1] == len(model)
    waited = [log for log in logs if "waiting for it" in log.read_text()]
    assert len(waited) == 7
    assert sorted(len(end["sources"]) for end in ends) == [0] * 7 + [1]  # type: ignore[arg-type]


def test_who_waits_takes_over_from_one_that_is_killed(
    hub: Hub, model: bytes, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    with pulling(first, "--json") as holder, pulling_after(holder, first, second) as waiter:
        holder.kill()
        assert waiter.wait(60) == 0
    assert [body.start for body in hub.bodies] == [0, PART]
    assert Path(str(events(second)[-1]["path"])).read_bytes() == model


@contextmanager
def pulling_after(
    holder: subprocess.Popen[bytes], first: Path, second: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A second pull, once the first has a part of the file; entered when it waits."""
    wait_until(lambda: PART in shown(first) or holder.poll() is not None, 60)
    with pulling(second, "--json") as waiter:
        wait_until(lambda: PART in shown(second) or waiter.poll() is not None, 60)
        yield waiter


def test_ctrl_c_ends_a_wait(hub: Hub, model: bytes, tmp_path: Path) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    with pulling(first, "--json") as holder, pulling_after(holder, first, second) as waiter:
        assert stopped(waiter) == 130
        assert holder.poll() is None


def test_ctrl_c_keeps_what_has_come_in(hub: Hub, model: bytes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pulling(log) as process:
        partial = wait_until(lambda: list(partials(PART)), 60)[0]
        assert stopped(process) == 130
    said = log.read_text()
    total = f"{len(model) / 1e6:.1f}"
    assert f"Stopped. 0.1 of {total} MB are kept; the next download goes on from there." in said
    assert re.search(rf"Try: localchat pull {REPO}:Q8_0\n", said)
    assert partial.stat().st_size == PART
    with pulling(log) as process:
        assert process.wait(60) == 0
    assert [body.start for body in hub.bodies] == [0, PART]
    assert f"came from hf:{REPO}/{FILE}@{hub.commit(REPO)}." in log.read_text()


def test_ctrl_c_before_anything_came(hub: Hub, model: bytes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    hub.schedule(Fault(Kind.STALL))
    with pulling(log) as process:
        wait_until(lambda: hub.bodies, 60)
        assert stopped(process) == 130
    assert "Stopped. Nothing had come in yet" in log.read_text()
    assert not list(partials(0))


def partials(size: int) -> Iterator[Path]:
    models = Path(os.environ["LOCALCHAT_HOME"]) / "data" / "models"
    return (path for path in models.glob("*.partial") if path.stat().st_size == size)
