"""A download whose process is killed: what a reboot or an impatient user leaves behind."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from localchat.registry import installed
from tests.conftest import wait_until
from tests.registry.fetching import CONTENT, DIGEST, NAME, REPO, SIZE, Fetching, at_address
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

BIG = random.Random(5).randbytes(24_000_000)
TWICE = 1 << 20
"""Bytes that a kill may cost at most, for they were on their way."""

CHILD = """
import sys
from localchat import paths
from localchat.registry import download
from localchat.registry.catalogue.manifest import UrlSource

class Watcher:
    def progress(self, done, total): pass
    def note(self, text): pass

url, sha256, size = sys.argv[1:]
print("ready", flush=True)
download.fetch(download.Wanted(int(size), sha256, (UrlSource(url=url),)), paths.find(), Watcher())
"""


@contextmanager
def process(hub: Hub, digest: str, size: int) -> Iterator[subprocess.Popen[str]]:
    """A process that fetches the file; it is about to when this is entered."""
    # By its address: what knows the hub takes long to be imported, and two hundred times longer.
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, at_address(hub).url, digest, str(size)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def check_what_is_left(fetching: Fetching) -> None:
    """Whatever moment it was: no wrong file, and nothing that would be in the way."""
    models = fetching.places.models
    left = list(models.iterdir()) if models.exists() else []
    known = {".partial", ".resume", ".lock", ".chunks", ".tmp", ".gguf"}
    assert {path.suffix for path in left} <= known
    assert len([path for path in left if path.suffix == ".partial"]) <= 1
    for path in left:
        if path.suffix == ".gguf":
            assert sha256(path.read_bytes()).hexdigest() == path.stem


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_kills_at_random_moments(hub: Hub, fetching: Fetching, kills: int) -> None:
    digest = hub.add(REPO, NAME, BIG)
    final = installed.location(digest, fetching.places)
    partial = final.with_suffix(".partial")
    draw = random.Random(kills)
    hub.rate = 8e6  # slower than anyone reads: what a kill costs is then what was not written
    costs = []
    for _ in range(kills):
        final.unlink(missing_ok=True)  # the last one came too late
        there, sent = size(partial), hub.sent[NAME]
        with process(hub, digest, len(BIG)) as child:
            # A moment that is told in bytes, so that there is a download to be killed.
            moment = sent + draw.choice([0, draw.randrange(len(BIG) * 3 // kills)])
            while hub.sent[NAME] < moment and child.poll() is None:
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
        check_what_is_left(fetching)
        if not final.exists():
            costs.append(hub.sent[NAME] - sent - (size(partial) - there))
        if draw.random() < 0.3:
            partial.with_suffix(".resume").unlink(missing_ok=True)
    assert max(costs) <= TWICE
    hub.rate = None
    with process(hub, digest, len(BIG)) as child:
        assert child.wait(30) == 0
    check_what_is_left(fetching)
    assert final.read_bytes() == BIG
    left = {path.suffix for path in final.parent.iterdir()}
    assert left == {".gguf", ".chunks", ".lock"}
    assert len(hub.bodies) > kills // 3, "there was something to kill"


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


FINISH = """
import os, signal, sys
from pathlib import Path
from localchat.registry.files.partial import Partial

steps = 0

def before(function):
    def step(*arguments, **options):
        global steps
        steps += 1
        if steps == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return step

with Partial(Path(sys.argv[1]), int(sys.argv[4])) as partial:
    partial.begin("somewhere")
    for name in ("fsync", "fchmod", "open"):
        setattr(os, name, before(getattr(os, name)))
    for name in ("replace", "unlink", "write_bytes"):
        setattr(Path, name, before(getattr(Path, name)))
    partial.finish(sys.argv[2])
"""


def test_kills_at_each_step_of_the_end(hub: Hub, fetching: Fetching) -> None:
    fetching.places.models.mkdir(parents=True)
    code = -signal.SIGKILL
    steps = 0
    while code == -signal.SIGKILL:
        steps += 1
        fetching.partial.write_bytes(CONTENT)
        fetching.partial.with_suffix(".resume").write_text('{"source": "somewhere"}')
        command = [sys.executable, "-c", FINISH, str(fetching.final), DIGEST, str(steps), str(SIZE)]
        code = subprocess.run(command, check=False).returncode
        check_what_is_left(fetching)
        fetching.run()
        fetching.check()
        assert not hub.requests, "all of it was there, and used"
        fetching.final.unlink()
    assert code == 0
    assert steps > 6


def test_bytes_that_a_crash_left_wrong(hub: Hub, fetching: Fetching) -> None:
    hub.rate = 2e6
    with process(hub, DIGEST, SIZE) as child:
        wait_until(lambda: hub.sent[NAME] > 300_000)
        child.kill()
    hub.rate = None
    # The file system had given it its size, and not yet its data.
    with fetching.partial.open("r+b") as file:
        file.seek(100_000)
        file.write(bytes(4096))
    fetching.run()
    fetching.check()
    assert fetching.starts[1] > 200_000, "it was gone on with, since a size shows nothing"
    assert fetching.starts[2:] == [0]


def test_a_file_that_was_made_read_only_and_got_no_name(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching.places.models.mkdir(parents=True)
    fetching.partial.write_bytes(CONTENT[:10])
    fetching.partial.chmod(0o444)
    real = os.open

    def as_user(path: Path, flags: int, *rest: int) -> int:
        """As the system answers anyone but root, who may run the tests."""
        if flags & os.O_RDWR and path == fetching.partial and path.stat().st_mode & 0o222 == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", as_user)
    fetching.run()
    fetching.check()
    assert fetching.starts == [10]
