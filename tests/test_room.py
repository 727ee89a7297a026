"""Every limit counts, wherever it is set: on a machine made of files, and with a real RLIMIT_AS."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from localchat import room
from localchat.room import Room

KIB, MIB, GIB = 2**10, 2**20, 2**30


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB available and 2 GiB of swap; nothing is limited yet."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    write(
        tmp_path / "proc/meminfo",
        f"MemTotal: {16 * MIB} kB\nMemFree: {MIB} kB\nMemAvailable: {8 * MIB} kB\n"
        f"SwapTotal: {4 * MIB} kB\nSwapFree: {2 * MIB} kB\n",
    )
    return tmp_path


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def group_v2(root: Path, path: str, **files: object) -> None:
    for name, content in files.items():
        write(root / f"sys/fs/cgroup/{path}/memory.{name}", content)


def test_what_is_available_and_free_swap(root: Path) -> None:
    assert room.find(root) == Room(8 * GIB, 2 * GIB)
    assert room.find(root).total == 10 * GIB


def test_this_machine_has_some(tmp_path: Path) -> None:
    assert 0 < room.find().memory < 2**50
    assert 0 < room.find(tmp_path).memory < 2**50  # without /proc: all there is


class TestControlGroups:
    def test_version_2(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/user/app")
        stat = f"anon {GIB}\ninactive_file {300 * MIB}\nactive_file {200 * MIB}\nfile {500 * MIB}"
        group_v2(root, "user/app", max=3 * GIB, high="max", current=2 * GIB, stat=stat)
        assert list(room.cgroup_limits(root)) == [GIB + 500 * MIB]
        assert room.find(root) == Room(GIB + 500 * MIB, 0)

    def test_the_soft_limit_of_version_2(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/")
        group_v2(root, "", max=3 * GIB, high=2 * GIB, current=GIB)
        assert room.find(root) == Room(GIB, 0)

    def test_a_group_around_it(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/user/app")
        group_v2(root, "user", max=2 * GIB, current=GIB)
        group_v2(root, "user/app", max=8 * GIB, current=GIB)
        assert room.find(root).total == GIB

    def test_in_a_container_the_mount_itself_is_the_group(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/host/path/that/is/not/here")
        group_v2(root, "", max=GIB, current=0)
        assert room.find(root).total == GIB

    def test_version_1(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/app\n0::/")
        folder = root / "sys/fs/cgroup/memory/app"
        write(folder / "memory.limit_in_bytes", 3 * GIB)
        write(folder / "memory.usage_in_bytes", 2 * GIB)
        write(folder / "memory.stat", f"total_inactive_file {MIB}\ntotal_active_file {MIB}")
        write(folder.parent / "memory.limit_in_bytes", 2**63 - 4096)
        write(folder.parent / "memory.usage_in_bytes", 2 * GIB)
        assert room.find(root) == Room(GIB + 2 * MIB, 0)

    def test_a_limit_above_what_there_is_takes_some_of_the_swap(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/")
        group_v2(root, "", max=9 * GIB, current=0)
        assert room.find(root) == Room(8 * GIB, GIB)

    def test_a_group_that_is_full_leaves_nothing(self, root: Path) -> None:
        write(root / "proc/self/cgroup", "0::/")
        group_v2(root, "", max=GIB, current=2 * GIB)
        assert room.find(root) == Room(0, 0)


def test_a_real_limit_of_the_address_space() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from localchat import room; print(room.find().total)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 512 * MIB < int(done.stdout) < GIB


def test_what_macos_says() -> None:
    text = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               12345.
Pages active:                            300000.
Pages inactive:                          290000.
Pages speculative:                         1000.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                           5000.
"Translation faults":                 123456789.
File-backed pages:                       200000.
Anonymous pages:                         391000.
Pages stored in compressor:              150000.
Pages occupied by compressor:             50000.
"""
    free = 16 * GIB - 16384 * (100000 + 391000 + 50000 - 5000)
    assert room.from_vm_stat(text, 16 * GIB) == Room(free, 0)
    assert room.from_vm_stat(text, GIB) == Room(0, 0)
