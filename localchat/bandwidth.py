"""How fast this machine reads its memory: what bounds the speed of decoding.

To compute one token, nearly all weights are read once. What is measured is C's `memchr`, which only
reads, over memory larger than the caches, on as many threads as would compute.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localchat.hardware import Machine

# What comes out of a cache says nothing of memory: twice the largest cache is read, within bounds.
# The first touch of memory is slow (0.2 s for 64 MB in some virtual machines), so not more.
_LEAST, _MOST = 2**26, 2**28  # bytes
_CACHE = Path("sys/devices/system/cpu/cpu0/cache/index3/size")

_READING = 0.1  # seconds, after which no further pass is begun

# Seconds that a value stands: from a machine that had so many runnable threads a processor, less.
_VALID, _VALID_IF_BUSY = 86_400.0, 600.0
_BUSY = 0.5


def find(machine: Machine, threads: int, remembered: Path) -> float | None:
    """Bytes a second; None where it can't be measured. Kept in the file `remembered`.

    Other programs' work can only make memory look slower, so the highest value that was seen on
    this processor counts. It is measured again after a day; after ten minutes if it was busy.
    """
    key: list[object] = [machine.cpu, machine.processors, threads]
    best, until = _recall(remembered, key)
    now = time.time()
    if 0 <= until - now <= _VALID:
        return best
    with contextlib.suppress(OSError, ValueError, MemoryError):
        is_busy = os.getloadavg()[0] > _BUSY * machine.processors
        valid = _VALID_IF_BUSY if is_busy else _VALID
        best = max(best or 0.0, measure(threads))
        with contextlib.suppress(OSError):  # then it is measured again the next time
            _keep(
                remembered,
                {"machine": key, "read": best, "until": now + valid},
            )
    return best


def measure(threads: int, root: Path = Path("/")) -> float:
    """Bytes a second, of the fastest of some passes. Raises OSError where memory is short."""
    share = _area(root) // threads
    memchr = ctypes.CDLL(None).memchr
    memchr.restype, memchr.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t],
    )
    area = mmap.mmap(-1, share * threads)
    whole = (ctypes.c_char * len(area)).from_buffer(area)
    start = ctypes.addressof(whole)
    try:
        # Memory that was never written to is one page of zeros, many times over.
        _together(threads, lambda number: ctypes.memset(start + number * share, 1, share))
        times: list[float] = []
        deadline = time.perf_counter() + _READING
        while not times or time.perf_counter() < deadline:
            times.append(
                _together(threads, lambda number: memchr(start + number * share, 0, share))
            )
        return len(area) / min(times)
    finally:
        del whole
        area.close()


def _together(threads: int, work: Callable[[int], object]) -> float:
    """Seconds until all threads have done their share; ctypes lets them run side by side."""
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.perf_counter() - start


def _area(root: Path) -> int:
    """Bytes to read: beyond the largest cache, where the system tells its size ("32768K")."""
    with contextlib.suppress(OSError, ValueError):
        cache = 1024 * int((root / _CACHE).read_text().strip().removesuffix("K"))
        return min(max(_LEAST, 2 * cache), _MOST)
    return _LEAST


def _recall(remembered: Path, key: list[object]) -> tuple[float | None, float]:
    """The value kept for this machine, and until when it stands."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(remembered.read_bytes())
        if found["machine"] == key and float(found["read"]) > 0:
            return float(found["read"]), float(found["until"])
    return None, 0.0


def _keep(remembered: Path, value: dict[str, object]) -> None:
    remembered.parent.mkdir(parents=True, exist_ok=True)
    temporary = remembered.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(remembered)
