"""Linux's control groups, both versions: what limits this process's memory and processor time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def folders(controller: str, root: Path = _ROOT) -> Iterator[tuple[int, Path]]:
    """The version and the folder of this process's group, then of each group around it.

    `root` is where /proc and /sys are looked for.
    """
    for line in lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            version, mount = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, mount = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path is often that of the host, and the mount itself is the group.
        folder = mount / path.lstrip("/")
        while folder.is_relative_to(mount):
            yield version, folder
            folder = folder.parent


def processors(root: Path = _ROOT) -> float | None:
    """How many processors' time this process may use; None: as many as there are."""
    return min(_quotas(root), default=None)


def _quotas(root: Path) -> Iterator[float]:
    for version, folder in folders("cpu", root):
        if version == 2:
            words = " ".join(lines(folder / "cpu.max")).split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [word for name in names for word in lines(folder / name)]
        if len(words) == 2 and words[0].isdigit():  # else "max", or -1
            yield int(words[0]) / int(words[1])


def lines(path: Path) -> list[str]:
    """Of a file of the kernel's; none where there is no such file."""
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:  # another system, or another version of control groups
        return []
