from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from localchat import gguf
from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.files import blobs, chunks
from localchat.registry.files.blobs import Taken, Way
from localchat.registry.files.verify import Stamp
from localchat.registry.installed import Part

CONTENT = b"GGUF and weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "cd" * 32

WAYS = pytest.mark.parametrize("way", ["link", "copy", "move"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "My Model.gguf"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def target(places: Paths) -> Path:
    """Where the file is to be."""
    make_private(places.models)
    return installed.location(DIGEST, places)


def take_in(path: Path, way: Way, places: Paths, sha256: str | None = None) -> Taken:
    return blobs.take_in(path, way, places, lambda done, total: None, sha256)


def left(places: Paths) -> set[str]:
    return {path.name.removeprefix(DIGEST) for path in places.models.iterdir()}


@WAYS
def test_a_file_is_taken_in(file: Path, target: Path, places: Paths, way: Way) -> None:
    seen: list[tuple[int, int]] = []
    taken = blobs.take_in(file, way, places, lambda *state: seen.append(state), DIGEST)
    assert taken == Taken(file, DIGEST, is_new=True)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert blobs.is_linked(DIGEST, places) == (way == "link")
    assert left(places) == {".gguf", ".chunks"}
    with file.open("rb") as opened:
        assert chunks.read(target) == chunks.hash_file(opened).chunks()
    assert file.read_bytes() == CONTENT, "nothing is lost before the end of a move"
    if way == "link":
        assert target.resolve() == file
    if way == "copy":
        assert not target.samefile(file)
        assert stat.S_IMODE(target.stat().st_mode) == 0o444
        file.write_bytes(b"changed")
        assert target.read_bytes() == CONTENT


def test_a_move_ends_with_its_release(file: Path, target: Path, places: Paths) -> None:
    taken = take_in(file, "move", places)
    blobs.release(taken, places)
    assert not file.exists()
    assert target.read_bytes() == CONTENT
    assert stat.S_IMODE(target.stat().st_mode) == 0o444


@WAYS
def test_another_digest_is_refused(file: Path, places: Paths, way: Way) -> None:
    with pytest.raises(ValueError, match=DIGEST):
        take_in(file, way, places, OTHER)
    assert left(places) == set()
    assert file.read_bytes() == CONTENT


@WAYS
def test_a_file_that_is_not_there(tmp_path: Path, places: Paths, way: Way) -> None:
    with pytest.raises(FileNotFoundError):
        take_in(tmp_path / "none", way, places)


@WAYS
def test_a_right_file_of_our_own_stays(file: Path, target: Path, places: Paths, way: Way) -> None:
    target.write_bytes(CONTENT)
    before = target.stat().st_ino
    taken = take_in(file, way, places, DIGEST)
    assert not taken.is_new
    assert target.stat().st_ino == before
    assert not target.is_symlink()
    assert left(places) - {".chunks"} == {".gguf"}
    blobs.release(taken, places)
    assert not file.exists()
    assert target.read_bytes() == CONTENT


@WAYS
@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1] + b"!", CONTENT + b"!"])
def test_a_damaged_file_of_our_own_is_replaced(
    file: Path, target: Path, places: Paths, way: Way, damaged: bytes
) -> None:
    target.write_bytes(damaged)
    with target.open("rb") as mapped:
        assert take_in(file, way, places, DIGEST).is_new
        assert mapped.read() == damaged, "an engine may have it mapped"
    assert target.read_bytes() == CONTENT


@WAYS
@pytest.mark.parametrize("goal", ["nowhere", "other", "itself"])
def test_a_link_in_its_place_is_replaced(
    file: Path, target: Path, places: Paths, way: Way, goal: str
) -> None:
    other = file.with_name("other")
    other.write_bytes(b"somebody's")
    target.symlink_to({"nowhere": file.with_name("none"), "other": other, "itself": file}[goal])
    take_in(file, way, places, DIGEST)
    assert target.read_bytes() == CONTENT
    assert target.is_symlink() == (way == "link")
    assert other.read_bytes() == b"somebody's"
    assert not file.with_name("none").exists()


@WAYS
def test_our_own_file_can_be_taken_in_again(target: Path, places: Paths, way: Way) -> None:
    target.write_bytes(CONTENT)
    taken = take_in(target, way, places)
    blobs.release(taken, places)
    assert target.read_bytes() == CONTENT
    assert not target.is_symlink()


@WAYS
def test_a_link_stands_for_what_it_leads_to(
    file: Path, target: Path, places: Paths, way: Way
) -> None:
    link = file.with_name("link")
    link.symlink_to(file.name)
    taken = take_in(link, way, places)
    assert target.read_bytes() == CONTENT
    assert target.resolve() == (file if way == "link" else target)
    assert taken.source == file


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_a_move_from_another_disk(
    file: Path, target: Path, places: Paths, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    taken = take_in(file, "move", places)
    assert target.read_bytes() == CONTENT
    assert not target.samefile(file)
    blobs.release(taken, places)
    assert not file.exists()
    assert left(places) == {".gguf", ".chunks"}


def test_a_copy_that_fails_leaves_nothing(
    file: Path, target: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        take_in(file, "copy", places)
    assert left(places) == set()
    assert file.read_bytes() == CONTENT


def test_the_copy_is_on_disk_before_it_gets_its_name(
    file: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = os.replace

    def record_replace(source: Any, goal: Any) -> None:
        if str(goal).endswith(".gguf"):
            done.append("rename")
        replace(source, goal)

    monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
    monkeypatch.setattr(os, "replace", record_replace)
    take_in(file, "copy", places)
    assert done == ["fsync", "rename", "fsync"]


# Split models


def parts(places: Paths) -> tuple[Part, ...]:
    made = []
    for digest in (DIGEST, OTHER, "ef" * 32):
        installed.location(digest, places).write_text(digest)
        made.append(Part(digest, Stamp(64, 0, 0)))
    return tuple(made)


def test_a_split_model_is_laid_out(target: Path, places: Paths) -> None:
    made = parts(places)
    for _ in range(2):
        blobs.lay_out(made, places)
        folder = installed.split_folder(DIGEST, places)
        names = sorted(path.name for path in folder.iterdir())
        assert names == [f"model-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
        found = gguf.parts(folder / names[1])
        assert [path.read_text() for path in found] == [part.sha256 for part in made]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # The links are of the folder, not of this machine: the models folder can be moved.
    moved = places.models.with_name("moved")
    places.models.rename(moved)
    assert (moved / folder.name / names[0]).read_text() == DIGEST


def test_one_file_needs_no_laying_out(target: Path, places: Paths) -> None:
    blobs.lay_out(parts(places)[:1], places)
    assert not installed.split_folder(DIGEST, places).exists()


def test_a_name_is_there_at_every_instant(target: Path, places: Paths) -> None:
    made = parts(places)
    blobs.lay_out(made, places)
    name = installed.split_folder(DIGEST, places) / installed.split_name(1, 3)
    missed: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                name.read_text()
            except OSError as error:
                missed.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(300):
        blobs.lay_out(made, places)
    done.set()
    looking.join()
    assert missed == []


# What belongs to a digest


def litter(places: Paths, digest: str) -> int:
    """All that can be there of a digest; the bytes it takes."""
    kinds = (".gguf", ".chunks", ".partial", ".resume", ".lock")
    for kind in kinds:
        installed.location(digest, places).with_suffix(kind).write_text("12345")
    for folder in (".split", ".parts"):
        inside = installed.location(digest, places).with_suffix(folder)
        inside.mkdir()
        (inside / "wheel").write_text("123")
        (inside / "link").symlink_to("/etc/passwd")
    return 5 * len(kinds) + 2 * 3


def test_remove(target: Path, places: Paths) -> None:
    bytes_of_one = litter(places, DIGEST)
    litter(places, OTHER)
    installed.lock_file(places).write_text("{}")
    assert blobs.remove(DIGEST, places) == bytes_of_one
    assert not [name for name in places.models.iterdir() if DIGEST in name.name]
    assert len(list(places.models.iterdir())) == 7 + 1
    assert blobs.remove(DIGEST, places) == 0


def test_of_a_link_the_link_is_removed(file: Path, target: Path, places: Paths) -> None:
    take_in(file, "link", places)
    only_chunks = chunks.location(target).stat().st_size
    assert blobs.remove(DIGEST, places) == only_chunks
    assert left(places) == set()
    assert file.read_bytes() == CONTENT


def test_belongings(target: Path, places: Paths) -> None:
    litter(places, OTHER)
    litter(places, DIGEST)
    for name in ("lock.json", "lock.json.lock", "x.gguf", f"{DIGEST[:-1]}.gguf", f"A{DIGEST}.gguf"):
        (places.models / name).touch()
    found = blobs.belongings(places)
    assert set(found) == {DIGEST, OTHER}
    assert len(found[DIGEST]) == 7
    assert all(path.name.startswith(DIGEST) for path in found[DIGEST])


def test_belongings_without_a_folder(places: Paths) -> None:
    assert blobs.belongings(places) == {}
