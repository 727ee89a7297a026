from __future__ import annotations

from pathlib import Path

import pytest

from localchat import cgroups


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n")


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroups.processors(tmp_path) is None
    assert list(cgroups.folders("cpu", tmp_path)) == []


@pytest.mark.parametrize(("limit", "expected"), [("150000 100000", 1.5), ("max 100000", None)])
def test_version_2(limit: str, expected: float | None, tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/app")
    write(tmp_path / "sys/fs/cgroup/app/cpu.max", limit)
    assert cgroups.processors(tmp_path) == expected


def test_the_lowest_limit_of_the_groups_around_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner")
    write(tmp_path / "sys/fs/cgroup/outer/cpu.max", "200000 100000")
    write(tmp_path / "sys/fs/cgroup/outer/inner/cpu.max", "400000 100000")
    assert cgroups.processors(tmp_path) == 2.0


@pytest.mark.parametrize(("quota", "expected"), [("50000", 0.5), ("-1", None)])
def test_version_1(quota: str, expected: float | None, tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "4:memory:/m\n3:cpu,cpuacct:/app")
    folder = tmp_path / "sys/fs/cgroup/cpu/app"
    write(folder / "cpu.cfs_quota_us", quota)
    write(folder / "cpu.cfs_period_us", "100000")
    assert cgroups.processors(tmp_path) == expected
