from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from localchat.registry.files import verify

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_sha256(file: Path) -> None:
    assert verify.sha256(file) == DIGEST


def test_the_progress_of_hashing(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(5_000_000))
    seen: list[int] = []
    assert verify.sha256(large, seen.append) == hashlib.sha256(bytes(5_000_000)).hexdigest()
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == 5_000_000


def test_the_stamp_shows_every_kind_of_change(file: Path) -> None:
    before = verify.stamp(file)
    assert verify.stamp(file) == before

    os.utime(file, ns=(0, before.mtime_ns + 1))
    assert verify.stamp(file) != before

    os.truncate(file, 1)
    os.utime(file, ns=(0, before.mtime_ns))
    assert verify.stamp(file) != before

    other = file.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(0, before.mtime_ns))
    other.replace(file)
    assert verify.stamp(file) != before


def test_matches(file: Path) -> None:
    assert verify.matches(file, len(CONTENT), DIGEST)
    assert not verify.matches(file, len(CONTENT) + 1, DIGEST)
    assert not verify.matches(file, len(CONTENT), "0" * 64)
    assert not verify.matches(file.with_name("none"), len(CONTENT), DIGEST)


def test_matches_does_not_wait_for_the_writer_of_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert not verify.matches(tmp_path / "fifo", 0, hashlib.sha256().hexdigest())
