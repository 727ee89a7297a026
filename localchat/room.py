"""How much memory this process may still take, whoever sets the limit.

Linux: what the kernel can hand out without swapping, control groups of both versions, RLIMIT_AS.
macOS: what is neither wired, compressed nor some program's own. Elsewhere: all memory there is.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from localchat import cgroups

_ROOT = Path("/")

# Bytes of address space, though not of memory, that threads and their allocators set aside.
_RESERVED = 2**27


class _Version(NamedTuple):
    """What a version of control groups calls things."""

    limits: tuple[str, ...]
    usage: str
    file_pages: tuple[str, str]


_V1 = _Version(
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)
_V2 = _Version(("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that can still be had."""

    memory: int
    """Pages of files, mapped weights among them, count as free: the system drops them first."""
    swap: int
    """Beyond that, by moving other programs out of memory: slow, but it works."""

    @property
    def total(self) -> int:
        return self.memory + self.swap


def find(root: Path = _ROOT) -> Room:
    """The room there is now. `root` is where /proc and /sys are looked for."""
    room = _machine(root)
    for limit in (*cgroup_limits(root), _address_space(root)):
        if limit is not None:
            memory = min(room.memory, max(0, limit))
            room = Room(memory, min(room.swap, max(0, limit) - memory))
    return room


def cgroup_limits(root: Path = _ROOT) -> Iterator[int]:
    """Bytes left under each limit of this process's control groups and of those around them."""
    for version, folder in cgroups.folders("memory", root):
        yield from _left_in(folder, _V1 if version == 1 else _V2)


def _left_in(folder: Path, version: _Version) -> Iterator[int]:
    used = _number(folder / version.usage)
    if used is None:
        return
    stat = _table(folder / "memory.stat")
    files = sum(stat.get(name, 0) for name in version.file_pages)
    for name in version.limits:
        limit = _number(folder / name)
        if limit is not None:
            yield limit - used + files


def from_vm_stat(text: str, physical: int) -> Room:
    """What macOS's vm_stat says, of a machine with so many bytes. Swap grows as needed there."""
    size = int(re.findall(r"page size of (\d+) bytes", text)[0])
    pages = {name: int(count) for name, count in re.findall(r'^"?([\w -]+)"?: +(\d+)', text, re.M)}
    taken = ("Pages wired down", "Pages occupied by compressor", "Anonymous pages")
    free = physical - size * sum(pages[name] for name in taken)
    return Room(max(0, free + size * pages.get("Pages purgeable", 0)), 0)


def _machine(root: Path) -> Room:
    table = {name: 1024 * count for name, count in _table(root / "proc/meminfo").items()}
    if "MemAvailable:" in table:
        return Room(table["MemAvailable:"], table.get("SwapFree:", 0))
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        vm_stat = subprocess.run(
            ["/usr/bin/vm_stat"], capture_output=True, text=True, timeout=5, check=True
        )
        return from_vm_stat(vm_stat.stdout, physical)
    return Room(physical, 0)


def _address_space(root: Path) -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    sizes = cgroups.lines(root / "proc/self/statm")
    if limit == resource.RLIM_INFINITY:
        return None
    used = int(sizes[0].split()[0]) * resource.getpagesize() if sizes else 0
    return limit - used - _RESERVED


def _number(path: Path) -> int | None:
    """None where there is no such file or it says "max"."""
    lines = cgroups.lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _table(path: Path) -> dict[str, int]:
    """The lines "name number ..." of a file."""
    words = [line.split() for line in cgroups.lines(path)]
    return {pair[0]: int(pair[1]) for pair in words if len(pair) > 1 and pair[1].isdigit()}
