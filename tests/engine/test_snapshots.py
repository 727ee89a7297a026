from __future__ import annotations

import hashlib
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat import snapshot_files
from localchat.engine import snapshots
from localchat.engine.snapshot_writer import BackgroundWriter
from localchat.engine.snapshots import Buffer, Snapshot, SnapshotStore
from localchat.snapshot_files import NOBODY, Head, entries, pack, unpack

KEY = "ab" * 32
OTHER_KEY = "cd" * 32
TOKENS = [*range(100)]
STATE = bytes(range(256)) * 40
HEAD = Head(bytes.fromhex(KEY), "tiny", pack(TOKENS), NOBODY, len(STATE), bytes(32))
MUCH = 10**9

# Writes until it is killed; a line for every snapshot that is there.
WRITE = """
import sys
from pathlib import Path
from localchat.engine.snapshots import SnapshotStore
folder, budget, start, count = sys.argv[1:]
faults = []
store = SnapshotStore(Path(folder), "ab" * 32, int(budget), log=faults.append)
for number in range(int(start), int(start) + int(count)):
    store.write([number, *range(50)], bytes(20_000 + number % 7))
    snapshot = store.find([number, *range(50)], whole=True)
    if snapshot is not None:
        store.read(snapshot)
    print(number, flush=True)
assert not faults, faults
"""

Store = Callable[..., SnapshotStore]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "snapshots"


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def new_store(folder: Path, log: list[str]) -> Store:
    def make(key: str = KEY, budget: int = MUCH) -> SnapshotStore:
        return SnapshotStore(folder, key, budget, model="tiny", log=log.append)

    return make


@pytest.fixture
def store(new_store: Store) -> SnapshotStore:
    return new_store()


def find(store: SnapshotStore, tokens: list[int] = TOKENS, *, whole: bool = True) -> Snapshot:
    snapshot = store.find(tokens, whole=whole)
    assert snapshot is not None
    return snapshot


def files(folder: Path) -> list[Path]:
    """Snapshots, used longest ago first."""
    return [entry.path for entry in entries(folder)]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (1e9 - seconds, 1e9 - seconds))


class TestFinding:
    def test_what_was_written_is_found_and_read_by_any_store(
        self, store: SnapshotStore, new_store: Store
    ) -> None:
        for state in (STATE, bytearray(STATE), memoryview(STATE)):
            store.write(TOKENS, state)
        for reader in (store, new_store()):
            snapshot = find(reader, [*TOKENS, 7])
            assert (snapshot.tokens, snapshot.size) == (TOKENS, len(STATE))
            assert reader.read(snapshot) == STATE

    def test_the_longest_common_prefix_wins(self, store: SnapshotStore) -> None:
        store.write([1, 2], bytes(2))
        store.write([1, 2, 3, 4], bytes(4))
        store.write([1, 2, 3, 4, 5, 6], bytes(6))
        assert find(store, [1, 2, 3, 4, 5], whole=True).tokens == [1, 2, 3, 4]
        assert find(store, [1, 2, 3, 4, 5], whole=False).tokens == [1, 2, 3, 4, 5, 6]
        assert find(store, [1, 2, 9], whole=False).tokens == [1, 2]
        assert store.find([1], whole=True) is None
        assert store.find([9], whole=False) is None
        assert store.find([], whole=False) is None

    def test_of_equal_prefixes_the_smallest_is_read(self, store: SnapshotStore) -> None:
        for last, size in ((7, 30), (8, 10), (9, 20)):
            store.write([1, 2, last], bytes(size))
        assert find(store, [1, 2, 3], whole=False).size == 10

    @given(
        held=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=6),
        prompt=st.lists(st.integers(0, 2), max_size=7),
        whole=st.booleans(),
    )
    def test_nothing_better_exists(
        self, held: list[list[int]], prompt: list[int], whole: bool
    ) -> None:
        store = SnapshotStore(Path("nowhere"), KEY, MUCH)
        index = {}
        for tokens in held:
            head = Head(bytes(32), "", pack(tokens), NOBODY, 1, bytes(32))
            index[head.name] = Snapshot(head, head.name)
        store._refresh = lambda: index  # type: ignore[method-assign]

        def common(tokens: list[int]) -> int:
            pairs = zip(tokens, prompt, strict=False)
            return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

        fitting = [common(t) for t in held if not whole or common(t) == len(t)]
        found = store.find(prompt, whole=whole)
        assert (common(found.tokens) if found else 0) == max(fitting, default=0)
        if found and whole:
            assert common(found.tokens) == len(found.tokens)

    def test_another_key_is_another_world(self, store: SnapshotStore, new_store: Store) -> None:
        store.write(TOKENS, STATE)
        other = new_store(OTHER_KEY)
        assert other.find(TOKENS, whole=True) is None
        other.write(TOKENS, b"other")
        assert store.read(find(store)) == STATE
        assert other.read(find(other)) == b"other"

    def test_files_come_and_go_by_other_processes(
        self, store: SnapshotStore, new_store: Store, folder: Path, log: list[str]
    ) -> None:
        assert store.find(TOKENS, whole=True) is None
        assert not folder.exists()
        new_store().write(TOKENS, STATE)
        snapshot = find(store)
        snapshot_files.clear(folder)
        assert store.read(snapshot) is None
        assert store.find(TOKENS, whole=True) is None
        new_store().write(TOKENS, STATE)
        assert store.read(find(store)) == STATE
        assert log == []

    def test_heads_are_read_once(
        self, store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(TOKENS, STATE)
        find(store)
        monkeypatch.setattr(snapshots, "load_head", None)
        find(store)

    def test_no_budget_is_off(self, new_store: Store, folder: Path, log: list[str]) -> None:
        new_store().write(TOKENS, STATE)
        off = new_store(budget=0)
        off.write([1], STATE)
        assert off.find(TOKENS, whole=True) is None
        assert len(files(folder)) == 1
        assert log == []

    def test_tokens_are_four_bytes_each(self) -> None:
        tokens = [0, 1, 255, 256, 2**31 - 1]
        assert pack([1, 256]) == bytes([1, 0, 0, 0, 0, 1, 0, 0])
        assert unpack(pack(tokens)) == tokens


class TestDamage:
    @pytest.fixture
    def file(self, store: SnapshotStore, folder: Path) -> Path:
        store.write(TOKENS, STATE)
        return files(folder)[0]

    def test_no_flipped_bit_goes_unnoticed(
        self, file: Path, folder: Path, new_store: Store, store: SnapshotStore
    ) -> None:
        intact = file.read_bytes()
        start = len(intact) - len(STATE)  # of the state
        find(store)
        for position in [*range(start + 2), *range(start + 2, len(intact), 997), len(intact) - 1]:
            damaged = bytearray(intact)
            damaged[position] ^= 1 << position % 8
            file.write_bytes(damaged)
            reader = new_store()
            found = reader.find(TOKENS, whole=False)
            assert (found is None) == (position < start), position
            # One that knew the file before must notice, too.
            assert store.read(find(store) if found else Snapshot(HEAD, file.name)) is None
            assert files(folder) == [], position
            assert reader.find(TOKENS, whole=False) is None
            file.write_bytes(intact)
            find(store)
        assert store.read(find(store)) == STATE

    def test_no_cut_goes_unnoticed(self, file: Path, folder: Path, new_store: Store) -> None:
        intact = file.read_bytes()
        start = len(intact) - len(STATE)
        for length in [*range(0, start + 2, 3), start, len(intact) // 2, len(intact) - 1]:
            file.write_bytes(intact[:length])
            assert new_store().find(TOKENS, whole=False) is None
            assert files(folder) == []
        file.write_bytes(intact + b"\0")
        assert new_store().find(TOKENS, whole=False) is None
        assert files(folder) == []

    def test_a_damaged_state_is_passed_over_and_can_be_written_again(
        self, file: Path, store: SnapshotStore, log: list[str]
    ) -> None:
        store.write(TOKENS[:50], b"shorter")
        with file.open("r+b") as opened:
            opened.seek(-1, os.SEEK_END)
            opened.write(b"\0")
        assert store.read(find(store)) is None
        assert len(log) == 1
        assert log[0].endswith("is damaged")
        assert store.read(find(store)) == b"shorter"
        store.write(TOKENS, STATE)
        assert store.read(find(store)) == STATE

    def test_a_snapshot_under_another_ones_name_is_removed(
        self, file: Path, folder: Path, new_store: Store
    ) -> None:
        renamed = file.with_name(f"{file.name[:17]}{'0' * 32}.snapshot")
        file.rename(renamed)
        assert new_store().find(TOKENS, whole=False) is None
        assert files(folder) == []

    @pytest.mark.parametrize("planted", ["link", "fifo", "foreign"])
    def test_what_is_no_file_of_ours_is_removed_unread(
        self, file: Path, tmp_path: Path, folder: Path, new_store: Store, planted: str
    ) -> None:
        outside = tmp_path / "outside"
        outside.write_bytes(file.read_bytes())
        known = new_store()
        snapshot = find(known)
        file.unlink()
        if planted == "link":
            file.symlink_to(outside)
        elif planted == "fifo":
            os.mkfifo(file)
        else:
            file.write_bytes(outside.read_bytes())
            if os.getuid() != 0:
                pytest.skip("only root can give files away")
            os.chown(file, 12345, -1)
        assert new_store().find(TOKENS, whole=False) is None
        assert files(folder) == []
        assert outside.exists()
        if planted == "link":
            file.symlink_to(outside)
            assert known.read(snapshot) is None
            assert not file.is_symlink()

    def test_what_can_not_be_removed_is_passed_over(
        self, file: Path, store: SnapshotStore, log: list[str]
    ) -> None:
        snapshot = find(store)
        file.unlink()
        file.mkdir()
        assert store.read(snapshot) is None
        assert store.find(TOKENS, whole=True) is None
        store.write(TOKENS, STATE)
        assert "can't be kept" in log[-1]

    def test_files_with_other_names_are_left_alone(
        self, file: Path, folder: Path, store: SnapshotStore
    ) -> None:
        for name in ("notes.txt", f"{KEY[:16]}-x.snapshot.bak"):
            (folder / name).write_text("mine")
        snapshot_files.clear(folder)
        assert {path.name for path in folder.iterdir()} >= {"notes.txt"}


class TestRoom:
    def size(self, folder: Path) -> int:
        return sum(entry.size for entry in entries(folder))

    def test_those_used_longest_ago_make_room_whatever_their_key(
        self, store: SnapshotStore, new_store: Store, folder: Path
    ) -> None:
        new_store(OTHER_KEY).write([9], STATE)
        for number in range(3):
            store.write([number], STATE)
        each = self.size(folder) // 4
        for path in files(folder):
            number = unpack(head_of(path).packed)[0]
            age(path, 40 if number == 9 else 30 - number)
        assert store.read(find(store, [0])) == STATE  # used again
        small = new_store(budget=3 * each + 2)
        small.write([3], STATE)
        held = {unpack(head_of(path).packed)[0] for path in files(folder)}
        assert held == {0, 2, 3}
        assert self.size(folder) <= 3 * each + 2

    def test_what_exceeds_the_budget_alone_is_not_written(
        self, new_store: Store, folder: Path, log: list[str]
    ) -> None:
        small = new_store(budget=20_000)
        small.write([1], STATE)
        small.write([2], STATE * 2)
        assert len(files(folder)) == 1
        assert log == [
            "a snapshot of 1 tokens can't be kept: it is larger than all snapshots together may be"
        ]

    def test_a_conversation_that_grew_leaves_its_last_snapshot_only(
        self, store: SnapshotStore
    ) -> None:
        store.write([1], b"shared prefix")
        store.write([1, 2], b"first turn", conversation="a")
        store.write([1, 2, 7], b"another conversation", conversation="b")
        store.write([1, 2, 3], b"second turn", conversation="a")
        assert {tuple(s.tokens) for s in store._refresh().values()} == {(1,), (1, 2, 7), (1, 2, 3)}

    def test_a_shared_prefix_stays_one_when_a_conversation_ends_there(
        self, store: SnapshotStore
    ) -> None:
        store.write([1, 2], b"state", conversation="a")
        store.write([1, 2], b"state")
        store.write([1, 2], b"state", conversation="a")
        store.write([1, 2, 3], b"longer", conversation="a")
        assert find(store, [1, 2]).tokens == [1, 2]

    def test_the_predecessor_stays_until_its_successor_is_there(
        self, store: SnapshotStore, new_store: Store, folder: Path
    ) -> None:
        store.write([1], STATE, conversation="a")
        store.write([8], STATE)
        with limited_files(5000):
            store.write([1, 2], STATE, conversation="a")
        assert store.read(find(store, [1])) == STATE
        # Where the budget has no room for both it goes before anything else.
        age(files(folder)[0], 100)
        new_store(budget=2 * len(STATE) + 1000).write([1, 2], STATE, conversation="a")
        assert {tuple(s.tokens) for s in store._refresh().values()} == {(8,), (1, 2)}

    def test_what_is_there_is_not_written_again(self, store: SnapshotStore, folder: Path) -> None:
        store.write(TOKENS, STATE)
        path = files(folder)[0]
        age(path, 100)
        inode = path.stat().st_ino
        store.write(TOKENS, STATE)
        assert path.stat().st_ino == inode
        assert path.stat().st_mtime > 1e9, "it counts as used"

    def test_a_full_disk_is_logged_and_leaves_nothing(
        self, store: SnapshotStore, folder: Path, log: list[str]
    ) -> None:
        with limited_files(5000):
            store.write(TOKENS, STATE)
        assert log == ["a snapshot of 100 tokens can't be kept: File too large"]
        assert files(folder) == []
        store.write(TOKENS, STATE)
        assert store.read(find(store)) == STATE

    def test_a_folder_that_is_not_ours_is_logged(
        self, store: SnapshotStore, folder: Path, tmp_path: Path, log: list[str]
    ) -> None:
        folder.parent.mkdir()
        folder.symlink_to(tmp_path)
        store.write(TOKENS, STATE)
        assert "is not a folder of yours" in log[0]
        assert [*tmp_path.glob("*.snapshot")] == []

    def test_only_the_owner_may_read(self, store: SnapshotStore, folder: Path) -> None:
        before = os.umask(0)
        try:
            store.write(TOKENS, STATE)
        finally:
            os.umask(before)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}

    @pytest.mark.parametrize("planted", ["link", "fifo"])
    def test_a_planted_lock_is_replaced(
        self, store: SnapshotStore, folder: Path, tmp_path: Path, planted: str
    ) -> None:
        folder.mkdir(parents=True)
        lock = folder / "lock"
        if planted == "link":
            lock.symlink_to(tmp_path / "outside")
        else:
            os.mkfifo(lock)
        store.write(TOKENS, STATE)
        assert store.read(find(store)) == STATE
        assert not (tmp_path / "outside").exists()

    def test_the_order_on_disk_survives_a_loss_of_power(
        self, store: SnapshotStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []
        fsync, replace = os.fsync, Path.replace

        def note_fsync(descriptor: int) -> None:
            kind = "folder" if os.path.isdir(f"/dev/fd/{descriptor}") else "file"  # noqa: PTH112
            done.append(f"fsync {kind}")
            fsync(descriptor)

        def note_replace(path: Path, target: Path) -> Path:
            done.append("rename")
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", note_fsync)
        monkeypatch.setattr(Path, "replace", note_replace)
        store.write(TOKENS, STATE)
        assert done == ["fsync file", "rename", "fsync folder"]

    def test_the_default_is_a_part_of_the_free_disk_and_no_more_than_2_gb(
        self, store: SnapshotStore, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def free(size: int) -> None:
            monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": size}))

        free(10**12)
        assert snapshot_files.default_budget(folder) == 2 * 10**9
        free(10**9)
        assert snapshot_files.default_budget(folder) == 5 * 10**7
        store.write(TOKENS, STATE)
        free(10**9 - self.size(folder))
        assert snapshot_files.default_budget(folder) == 5 * 10**7


class TestForgetting:
    def test_what_a_conversation_left_goes_and_does_not_come_back(
        self, store: SnapshotStore, new_store: Store, folder: Path, log: list[str]
    ) -> None:
        other = new_store(OTHER_KEY)
        for writer in (store, other):  # of two models
            writer.write([1, 2], STATE, conversation="a")
        store.write([8, 9], STATE, conversation="b")
        store.write([1], STATE)
        (folder / "left.writing").write_bytes(STATE)
        assert {entry.path.stem[:2] for entry in snapshot_files.forget(folder, ["a"])} == {
            "ab",
            "cd",
        }
        for writer in (store, other, new_store()):
            writer.write([1, 2], STATE, conversation="a")  # an engine that still held it
            writer.write([1, 2, 3], STATE, conversation="a")
        assert {tuple(unpack(head.packed)) for head in self.heads(folder)} == {(1,), (8, 9)}
        assert not (folder / "left.writing").exists()
        assert log == []

    def test_it_is_kept_again_when_the_conversation_is_back(
        self, store: SnapshotStore, folder: Path
    ) -> None:
        snapshot_files.forget(folder, ["a", "b"])
        snapshot_files.readmit(folder, ["a"])
        store.write([1], STATE, conversation="a")
        store.write([2], STATE, conversation="b")
        assert find(store, [1]).head.owner == snapshot_files.owner_of("a")
        assert store.find([2], whole=True) is None

    def test_the_list_does_not_grow_for_ever(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        snapshot_files.forget(folder, ["old"])
        monkeypatch.setattr(snapshot_files, "_FORGOTTEN_FOR", 0)
        snapshot_files.forget(folder, ["older"])
        assert snapshot_files.forgotten(folder) == {}

    def test_nothing_is_made_for_nothing(self, folder: Path) -> None:
        assert snapshot_files.forget(folder, []) == []
        snapshot_files.readmit(folder, ["a"])
        assert not folder.exists()

    @pytest.mark.parametrize("planted", ["link", "fifo"])
    def test_a_planted_list_is_replaced(self, folder: Path, tmp_path: Path, planted: str) -> None:
        folder.mkdir(parents=True)
        outside = tmp_path / "outside"
        outside.write_bytes(b"kept")
        if planted == "link":
            (folder / "forgotten").symlink_to(outside)
        else:
            os.mkfifo(folder / "forgotten")
        snapshot_files.forget(folder, ["a"])
        assert outside.read_bytes() == b"kept"
        assert [*snapshot_files.forgotten(folder)] == [snapshot_files.owner_of("a")]

    def test_a_list_that_was_cut_is_read_as_far_as_it_goes(
        self, store: SnapshotStore, folder: Path
    ) -> None:
        snapshot_files.forget(folder, ["a", "b"])
        path = folder / "forgotten"
        path.write_bytes(path.read_bytes()[:30])
        assert len(snapshot_files.forgotten(folder)) == 1
        store.write([1], STATE, conversation="c")
        assert find(store, [1])

    def test_a_snapshot_says_nothing_of_the_history(
        self, store: SnapshotStore, folder: Path
    ) -> None:
        store.write([1], STATE, conversation="0123456789abcdef")
        snapshot_files.forget(folder, ["fedcba9876543210"])
        for path in folder.iterdir():
            assert b"0123456789abcdef" not in path.read_bytes()
            assert b"fedcba9876543210" not in path.read_bytes()

    def test_a_file_of_the_first_version_is_removed(
        self, store: SnapshotStore, folder: Path
    ) -> None:
        store.write(TOKENS, STATE)
        (path,) = files(folder)
        head = (
            struct.pack(
                "<8sHHIIQ32s32s",
                b"LCSNAP\r\n",
                1,
                1,
                4,
                100,
                len(STATE),
                bytes.fromhex(KEY),
                hashlib.sha256(STATE).digest(),
            )
            + b"tiny"
            + pack(TOKENS)
        )
        path.write_bytes(head + hashlib.sha256(head).digest() + STATE)
        assert snapshot_files.load_head(path) is None
        assert not path.exists()

    def heads(self, folder: Path) -> list[Head]:
        found = [snapshot_files.load_head(path) for path in files(folder)]
        return [head for head in found if head]


class TestProcesses:
    def start(self, folder: Path, budget: int, start: int, count: int) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-P", "-c", WRITE, folder, str(budget), str(start), str(count)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)  # type: ignore[arg-type]

    def test_a_killed_writer_leaves_whole_files_and_one_stray_at_most(
        self, folder: Path, new_store: Store, log: list[str]
    ) -> None:
        for kill in range(4):
            process = self.start(folder, 300_000, 100 * kill, 10**6)
            assert process.stdout
            for _ in range(kill + 1):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            strays = [path for path in files(folder) if snapshot_files.is_unfinished(path)]
            assert len(strays) <= 1
            store = new_store()
            for snapshot in store._refresh().values():
                assert store.read(snapshot) is not None
        (folder / "left.writing").write_bytes(b"x")
        store.write(TOKENS, STATE)
        assert not [path for path in files(folder) if snapshot_files.is_unfinished(path)]
        assert log == []

    def test_writers_side_by_side_hold_the_budget(self, folder: Path) -> None:
        budget = 100_000
        processes = [self.start(folder, budget, start, 40) for start in (0, 1000)]
        most = 0
        while any(process.poll() is None for process in processes):
            most = max(most, sum(entry.size for entry in entries(folder)))
        assert [process.wait() for process in processes] == [0, 0]
        for process in processes:
            process.communicate()
        assert 0 < most <= budget
        assert len(files(folder)) == 4


class _SlowStore(SnapshotStore):
    """Writes when it is told to."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.written: list[list[int]] = []

    def write(self, tokens: list[int], state: Buffer, *, conversation: str | None = None) -> None:
        self.started.release()
        self.go_on.acquire()
        self.written.append(tokens)


class TestBackgroundWriter:
    def test_it_writes_in_order_and_is_drained(self, store: SnapshotStore) -> None:
        writer = BackgroundWriter(store)
        assert writer.drain(0)
        writer.submit([1], b"first", conversation="a")
        writer.submit([1, 2], b"second", conversation="a")
        assert writer.drain(10)
        assert store.find([1], whole=True) is None
        assert store.read(find(store, [1, 2])) == b"second"

    def test_a_slow_disk_neither_blocks_nor_fills_memory(self) -> None:
        slow = _SlowStore()
        writer = BackgroundWriter(slow, memory=250)
        writer.submit([0], bytes(100))
        assert slow.started.acquire(timeout=10)
        for number in range(1, 5):
            writer.submit([number], bytes(100))
        assert not writer.drain(0.01)
        slow.go_on.release(5)
        assert writer.drain(10)
        assert slow.written == [[0], [4]]

    def test_the_newest_is_written_however_large(self) -> None:
        slow = _SlowStore()
        slow.go_on.release(9)
        writer = BackgroundWriter(slow, memory=10)
        writer.submit([1], bytes(100))
        assert writer.drain(10)
        assert slow.written == [[1]]


def head_of(path: Path) -> Head:
    head = snapshot_files.load_head(path)
    assert head is not None
    return head


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Files can't grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
