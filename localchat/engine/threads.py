"""How many compute threads a step gets."""

from __future__ import annotations

import os
from pathlib import Path

_SMT = Path("/sys/devices/system/cpu/smt/active")


def default_threads() -> int:
    """One per physical core this process may run on.

    Two threads on one core compete for the same vector units and gain nothing.
    """
    if hasattr(os, "sched_getaffinity"):
        logical = len(os.sched_getaffinity(0))
    else:
        logical = os.cpu_count() or 1
    try:
        shares_cores = _SMT.read_text().strip() == "1"
    except OSError:
        shares_cores = False
    return max(1, logical // 2 if shares_cores else logical)
