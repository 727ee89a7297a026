"""Verifying what is installed: what is wrong is named; what is right is not hashed again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.registry import installed, resolve
from localchat.registry.care.integrity import Finding, verify_model
from localchat.registry.files import blobs, chunks, verify
from localchat.registry.installed import Record
from tests.registry.planted import CHUNK, SIZE, content, files_of, flip, put
from tests.registry.planted import small_chunks as small_chunks

pytestmark = pytest.mark.usefixtures("small_chunks")


def check(record: Record, places: Paths) -> list[Finding]:
    return list(verify_model(record, places, lambda done, total: None))


def only(record: Record, places: Paths) -> Finding:
    (finding,) = check(record, places)
    return finding


def test_a_good_model_is_ok(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    assert only(record, places) == Finding("model", str(path), "ok", SIZE)


def test_all_its_bytes_are_told_as_they_are_read(places: Paths) -> None:
    record = put(places, content(1), content(2), projector=content(3))
    seen: list[tuple[int, int]] = []
    list(verify_model(record, places, lambda done, total: seen.append((done, total))))
    assert seen == [(SIZE, 3 * SIZE), (2 * SIZE, 3 * SIZE), (3 * SIZE, 3 * SIZE)]


def test_damaged_chunks_are_named(places: Paths) -> None:
    record = put(places, content())
    flip(files_of(record, places)[0], 0, 3 * CHUNK, 3 * CHUNK + 7, SIZE - 1)
    found = only(record, places)
    assert (found.state, found.reason) == ("damaged", None)
    assert found.damaged == ((0, CHUNK), (3 * CHUNK, 4 * CHUNK), (10 * CHUNK, SIZE))
    assert found.damaged_bytes == 2 * CHUNK + 500


def test_a_truncated_file_lacks_its_last_chunks(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    path.chmod(0o644)
    os.truncate(path, 9 * CHUNK + 1)
    found = only(record, places)
    assert found.damaged == ((9 * CHUNK, 10 * CHUNK), (10 * CHUNK, SIZE))
    assert (found.state, found.reason) == ("damaged", "it ends after 9,001 of 10,500 bytes")


def test_a_file_that_is_too_long_has_no_damaged_chunk(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    path.chmod(0o644)
    path.write_bytes(content() + b"more")
    found = only(record, places)
    assert (found.state, found.damaged) == ("damaged", ())
    assert found.reason == "it is 4 bytes too long"


@pytest.mark.parametrize(
    "known", [None, b"nonsense", b'{"size": 1, "sha256": ["' + b"0" * 64 + b'"]}']
)
def test_without_chunks_all_of_it_counts_as_damaged(places: Paths, known: bytes | None) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    flip(path, 5)
    if known is None:
        chunks.location(path).unlink()
    else:
        chunks.location(path).write_bytes(known)
    assert only(record, places).damaged == ((0, SIZE),)


def test_chunks_that_fit_a_wrong_file_are_not_believed(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    flip(path, 5)
    hasher = chunks.Hasher()
    hasher.update(path.read_bytes())
    chunks.write(path, hasher.chunks())
    assert only(record, places).damaged == ((0, SIZE),)


def test_a_missing_file(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    path.unlink()
    assert only(record, places).state == "missing"


def test_what_can_not_be_read(places: Paths, tmp_path: Path) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for target, reason in (
        (tmp_path, "it is not a regular file"),
        (fifo, "it is not a regular file"),
        (loop, os.strerror(40)),
    ):
        path.unlink()
        path.symlink_to(target)
        found = only(record, places)
        assert (found.state, found.reason) == ("unreadable", reason)


def test_of_several_files_the_damaged_ones_are_named(places: Paths) -> None:
    record = put(places, content(1), content(2), projector=content(3))
    _, second, projector = files_of(record, places)
    flip(second, 1)
    flip(projector, SIZE - 1)
    assert [found.state for found in check(record, places)] == ["ok", "damaged", "damaged"]


def test_a_linked_file(places: Paths, tmp_path: Path) -> None:
    foreign = tmp_path / "theirs.gguf"
    foreign.write_bytes(content())
    record = put(places, content())
    blobs.link(record.sha256, foreign, places)
    assert only(record, places) == Finding("model", str(foreign), "ok", SIZE)
    flip(foreign, CHUNK)
    found = only(record, places)
    assert (found.path, found.damaged) == (str(foreign), ((CHUNK, 2 * CHUNK),))
    foreign.unlink()
    found = only(record, places)
    assert (found.path, found.state) == (str(foreign), "missing")


def test_the_next_load_does_not_hash_what_was_verified(
    places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(places, content(1), content(2), projector=content(3))
    for path in files_of(record, places):
        os.utime(path, ns=(1, 1))
    assert installed.lookup("model", places) is None
    check(record, places)
    monkeypatch.setattr(verify, "sha256", lambda *_: pytest.fail("it is hashed again"))
    assert resolve.resolve("model", places).path == str(record.path(places))
    assert installed.lookup("model", places) is not None


def test_what_is_damaged_is_hashed_again_by_the_next_load(places: Paths) -> None:
    record = put(places, content(1), content(2))
    for path in files_of(record, places):
        os.utime(path, ns=(1, 1))
    flip(files_of(record, places)[1], 7)
    check(record, places)
    assert installed.lookup("model", places) is None


def test_a_write_during_the_hashing_shows(places: Paths) -> None:
    record = put(places, content())
    (path,) = files_of(record, places)
    os.utime(path, ns=(1, 1))

    def write_once(done: int, total: int) -> None:
        if path.read_bytes() == content():
            flip(path, 0)

    (found,) = verify_model(record, places, write_once)
    assert found.state == "ok"  # the bytes that were read were right
    assert installed.lookup("model", places) is None
