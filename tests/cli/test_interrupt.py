"""Ctrl-C: the command ends at once, and the engine is as good as new."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from termios import FIONREAD

import pytest

from localchat.client.engines import running
from localchat.paths import Paths
from tests.conftest import CommandRunner, wait_until

COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]
LONG = "The quick brown fox jumps over the lazy dog. " * 400  # 4,000 tokens
GREEDY = ("--temp", "0", "--max-tokens", "12", "Name three colours")
MOST = 0.25  # seconds from the signal until the engine serves somebody else


@pytest.fixture(autouse=True)
def _one_thread(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine two threads that wait for each other are several times slower."""
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")


def ask(prompt: str) -> subprocess.Popen[bytes]:
    """A command that ignores no signal, whatever started the tests."""
    asking = subprocess.Popen(
        [*COMMAND, "--temp", "0", "Write a very long story"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert asking.stdin is not None
    asking.stdin.write(prompt.encode())
    asking.stdin.close()
    asking.stdin = None
    return asking


def is_busy(places: Paths) -> bool:
    return any(engine.status["state"] == "busy" for engine in running(places))


def interrupt(asking: subprocess.Popen[bytes]) -> None:
    started = time.monotonic()
    asking.send_signal(signal.SIGINT)
    if asking.stdin is not None:
        asking.stdin.close()
        asking.stdin = None
    _, said = asking.communicate(timeout=10)
    assert (asking.returncode, said) == (130, b"")
    assert time.monotonic() - started < 1


@pytest.mark.alone
@pytest.mark.usefixtures("installed_starter")
@pytest.mark.parametrize("trials", [10, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_engine_is_free_at_once_and_unharmed(
    localchat: CommandRunner, places: Paths, phase: str, trials: int
) -> None:
    fresh = localchat(*GREEDY).stdout
    (engine,) = running(places)
    pid = engine.status["pid"]
    times = []
    draw = random.Random(phase)
    for _ in range(trials):
        asking = ask(LONG if phase == "prefill" else "about a dog")
        assert asking.stdout is not None
        wait_until(lambda: is_busy(places))
        if phase == "decode":
            assert os.read(asking.stdout.fileno(), 1)
        # A random moment, not a wait for something.
        select.select([], [], [], draw.uniform(0, 0.5))
        assert is_busy(places)
        asking.send_signal(signal.SIGINT)
        times.append(time_until_idle(places, pid))
        interrupt(asking)
    assert sorted(times)[trials * 95 // 100 - 1] < MOST, times
    assert localchat(*GREEDY).stdout == fresh
    assert running(places)[0].status["pid"] == pid


def time_until_idle(places: Paths, pid: int) -> float:
    """Seconds until the engine has no request and none of its threads computes any more."""
    started = time.monotonic()
    wait_until(lambda: not is_busy(places))
    before = cpu_time(pid)
    while True:
        reached = time.monotonic()
        select.select([], [], [], 0.05)
        if cpu_time(pid) - before <= 1:  # answering `status` costs some, too
            return reached - started
        before = cpu_time(pid)


def cpu_time(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_before_anything_was_asked(home: Path) -> None:
    """While the prompt is still being typed into the pipe."""
    asking = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert asking.stdin is not None
    asking.stdin.write(b"half a prom")
    asking.stdin.flush()
    unread = array("i", [1])
    pipe = asking.stdin.fileno()
    wait_until(lambda: not fcntl.ioctl(pipe, FIONREAD, unread) and not unread[0])
    interrupt(asking)
