"""The unfinished file on disk: when it is full, when someone tampered with it, in which order."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import LocalchatError, OutOfSpace
from localchat.registry.files.partial import Partial
from tests.registry.faults import Fault, Kind
from tests.registry.fetching import CONTENT, DIGEST, SIZE, Fetching, at_address
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

HALF = 400_000
Usage = namedtuple("Usage", "total used free")


# What someone put in its place


def test_a_planted_link_is_not_written_through(
    hub: Hub, fetching: Fetching, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    fetching.places.models.mkdir(parents=True)
    for suffix in (".lock", ".partial"):
        planted = fetching.final.with_suffix(suffix)
        planted.symlink_to(victim)
        with pytest.raises(LocalchatError, match=f"{suffix} is not a file of yours|can't be used"):
            fetching.run()
        planted.unlink()
    for suffix in (".resume", ".gguf", ".chunks"):
        fetching.final.with_suffix(suffix).symlink_to(victim)
    hub.schedule(Fault(Kind.FIN, at=HALF))
    fetching.run()
    fetching.check()
    assert not fetching.final.is_symlink()
    assert victim.read_bytes() == b"mine"


def test_a_planted_pipe_hangs_nobody(fetching: Fetching) -> None:
    fetching.places.models.mkdir(parents=True)
    os.mkfifo(fetching.partial)
    with pytest.raises(LocalchatError, match="is not a file of yours") as caught:
        fetching.run()
    assert caught.value.hint == f"rm {fetching.partial}"
    for path in fetching.places.models.iterdir():
        path.unlink()
    for suffix in (".lock", ".resume", ".gguf"):
        os.mkfifo(fetching.final.with_suffix(suffix))
    fetching.run()
    fetching.check()


def test_someone_elses_file(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching.places.models.mkdir(parents=True)
    fetching.partial.write_bytes(b"")
    owner = os.getuid()
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: owner + 1)
        with pytest.raises(LocalchatError, match="is not a file of yours"):
            Partial(fetching.final, SIZE)


@pytest.mark.parametrize(
    "notes", [b"", b"{", b"[]", b'{"source": 5}', b"\xff", b"[" * 100_000, b'{"source": "%s"}']
)
def test_notes_that_make_no_sense(hub: Hub, fetching: Fetching, notes: bytes) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.STATUS, status=403))
    with pytest.raises(LocalchatError):
        fetching.run()
    hub.schedule()
    fetching.partial.with_suffix(".resume").write_bytes(notes)
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF]
    assert hub.requests[-1].if_range is None


@pytest.mark.parametrize("validator", ['W/"weak"', '"a"\r\nX-Evil: 1', "bare", '"ä"', 5])
def test_a_validator_that_is_none_is_not_sent(
    hub: Hub, fetching: Fetching, validator: object
) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.STATUS, status=403))
    with pytest.raises(LocalchatError):
        fetching.run()
    hub.schedule()
    with Partial(fetching.final, SIZE) as partial:
        partial.begin(str(fetching.source))
        partial.remember(validator)  # type: ignore[arg-type]
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF]
    assert hub.requests[-1].if_range is None


@pytest.mark.parametrize("content", [CONTENT + b"!", b"x" * SIZE, b"x" * 9])
def test_another_files_bytes(fetching: Fetching, content: bytes) -> None:
    fetching.places.models.mkdir(parents=True)
    fetching.partial.write_bytes(content)
    fetching.run()
    fetching.check()


# When the disk is full


def test_a_download_that_has_no_room_is_not_begun(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.STATUS, status=403))
    with pytest.raises(LocalchatError):
        fetching.run()
    hub.schedule()
    asked = len(hub.requests)
    needed = int((SIZE - HALF) * 1.05)  # of the rest only
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, free))
    with pytest.raises(OutOfSpace, match=r"needs 0 MB of disk space, but .* has 0 MB free") as no:
        fetching.run()
    assert no.value.exit_code == 5
    assert str(no.value.hint).startswith("free some space (localchat models gc)")
    assert len(hub.requests) == asked
    assert fetching.partial.stat().st_size == HALF
    free = needed
    fetching.run()
    fetching.check()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_disk_fills_up(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    room = HALF
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(code, os.strerror(code))
        written = real(descriptor, data[:room])
        room -= written
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(OutOfSpace, match="The disk filled up while writing to"):
            fetching.run()
    kept = fetching.partial.read_bytes()
    assert len(kept) > HALF // 2
    assert kept == CONTENT[: len(kept)]
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, len(kept)]


SMALL = """
import shutil, subprocess, sys
from localchat import paths
from localchat.errors import OutOfSpace
from localchat.registry import download
from localchat.registry.catalogue.manifest import UrlSource

class Watcher:
    def progress(self, done, total): pass
    def note(self, text): print(text)

url, digest, size = sys.argv[1:]
places = paths.find()
paths.make_private(places.models)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "none", places.models], check=True)
usage = shutil.disk_usage
shutil.disk_usage = lambda path: usage("/")  # someone else takes the room, after it was seen
wanted = download.Wanted(int(size), digest, (UrlSource(url=url),))
try:
    download.fetch(wanted, places, Watcher())
except OutOfSpace as error:
    print(error.exit_code, error)
print(*sorted(path.suffix for path in places.models.iterdir()))
subprocess.run(["mount", "-o", "remount,size=2m", "none", places.models], check=True)
download.fetch(wanted, places, Watcher())
print(*sorted(path.suffix for path in places.models.iterdir()))
"""


def test_a_real_disk_fills_up(hub: Hub, fetching: Fetching) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", SMALL, at_address(hub).url, DIGEST, str(SIZE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept, told, before, after = done.stdout.splitlines()
    assert re.fullmatch(
        r"0\.[45] of 0\.7 MB are kept; the next download goes on from there\.", kept
    )
    assert told.startswith("5 The disk filled up while writing to ")
    assert before == ".lock .partial .resume"
    assert after == ".chunks .gguf .lock"
    first, second = fetching.starts
    assert first == 0
    assert 400_000 < second < 500 << 10


# When the power fails


@pytest.fixture
def order(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the file, the folder and the name, in order."""
    done: list[str] = []

    def record(name: str, what: Callable[..., str | None]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if (found := what(*arguments)) and done[-1:] != [found]:
                done.append(found)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    def is_file(descriptor: int) -> bool:
        found = os.fstat(descriptor)
        return stat.S_ISREG(found.st_mode) and found.st_ino == fetching.partial.stat().st_ino

    def synced(descriptor: int) -> str | None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return "fsync of the folder"
        return "fsync" if is_file(descriptor) else None

    record("write", lambda descriptor, _: "write" if is_file(descriptor) else None)
    record("fsync", synced)
    record("fchmod", lambda *_: "read-only")
    record("replace", lambda source, _: "rename" if source == fetching.partial else None)
    return done


def test_the_file_is_on_disk_before_it_has_its_name(fetching: Fetching, order: list[str]) -> None:
    fetching.run()
    assert order == ["write", "fsync", "read-only", "rename", "fsync of the folder"]
    assert stat.S_IMODE(fetching.final.stat().st_mode) == 0o444
    assert stat.S_IMODE(fetching.places.models.stat().st_mode) == 0o700
