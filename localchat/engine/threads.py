"""How many compute threads a step gets.

llama.cpp's threads wait for each other many times a step, spinning. When another process takes the
core of one of them, all wait until it is back: two threads on two cores, one of them taken, are
three times slower than one thread. So step times are measured, and the count follows the machine.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from math import floor
from pathlib import Path
from statistics import fmean as mean
from statistics import median
from typing import Protocol

from localchat import cgroups

_SMT = Path("/sys/devices/system/cpu/smt/active")
_STAT = Path("/proc/stat")

# Batches up to here count as decoding, larger ones as prefill.
_MOST_DECODE_ROWS = 32

# Another row of a small batch takes about this part of the time of a single one (0.43 measured).
_ROW_COST = 0.43

# Weight of the newest step in the measured cost of a row.
_NEWEST = 0.1

_LOOK = 0.2  # seconds between two looks at what else the machine does

# Cores of other processes' work: from the first on, a thread is taken away; below the second, it
# is given back.
_TAKEN, _GIVEN_BACK = 0.35, 0.2

# Steps of another count in a trial. A prefill step is long: two must do.
_DECODE_TRIAL, _PREFILL_TRIAL = 6, 2

_WINS = 0.95  # a trial wins if it took this part of the time or less

# Seconds until the next trial; after each that fails, twice as long, where the system tells what
# else it does. Where it does not, trials are all there is to follow a change.
_PATIENCE, _MOST_PATIENCE = 1.5, 60.0

# So many times what a trial in vain has cost passes before the next.
_WORTH = 15.0

# When so many steps in a row are so many times slower or faster than usual, something has changed.
_CHANGED_STEPS, _CHANGED = 3, 1.5


def default_threads() -> int:
    """One per physical core this process may run on, and has the time of.

    Two threads on one core compete for the same vector units and gain nothing. Beyond the time that
    a control group grants, all threads stand still until the next tenth of a second.
    """
    logical = len(_own_cpus()) or os.cpu_count() or 1
    try:
        shares_cores = _SMT.read_text().strip() == "1"
    except OSError:
        shares_cores = False
    cores = logical // 2 if shares_cores else logical
    granted = cgroups.processors()
    return max(1, cores if granted is None else min(cores, floor(granted)))


def _own_cpus() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


class LoadMeter(Protocol):
    """Tells how much of the machine other processes use; `ProcStat`, or a fake in tests."""

    @property
    def cores(self) -> int: ...

    def others(self) -> float | None:
        """Cores that other processes kept busy since the last call; None if it can't be told."""


class ProcStat:
    """Linux's count of each core's idle time, less what this process used itself.

    Time that a virtual machine did not get counts as others' too. `cores` are logical ones.
    """

    def __init__(self) -> None:
        self._cpus = {f"cpu{number}" for number in _own_cpus()}
        self._last = self._sample()

    @property
    def cores(self) -> int:
        return len(self._cpus)

    def others(self) -> float | None:
        before, now = self._last, self._sample()
        self._last = now
        if before is None or now is None or now[0] <= before[0]:
            return None
        seconds = now[0] - before[0]
        return max(0.0, self.cores - (now[1] - before[1]) / seconds)

    def _sample(self) -> tuple[float, float] | None:
        """Now, and the time our cores were idle or ours; in seconds."""
        try:
            lines = _STAT.read_text().splitlines()
        except OSError:
            return None
        ticks = 0
        for line in lines:
            name, *fields = line.split()
            if name in self._cpus:
                ticks += int(fields[3]) + int(fields[4])  # idle, and idle while a disk works
        idle = ticks / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), idle + time.process_time()


class Tuner:
    """The best thread count of one kind of step on a machine with nothing else to do, by trial.

    Times are seconds per unit of work. Means are compared, since what hurts are the few steps in
    which a thread had to be waited for.
    """

    def __init__(self, most: int, trial_steps: int) -> None:
        self.best = most
        self._most = most
        self._trial_steps = trial_steps
        self._usual: deque[float] = deque(maxlen=4 * trial_steps)
        self._tried: list[float] = []
        self._candidate: int | None = None
        self._began = 0.0
        self._direction = -1
        self._is_stuck = False
        self._patience = _PATIENCE
        self._not_before = 0.0

    def choose(self, ceiling: int, now: float) -> int:
        """Threads for the next step: `ceiling` at most."""
        if ceiling < self.best:
            self._candidate = None
            self._tried.clear()
            self._usual.clear()  # the last steps may have been slow because of the others
            return ceiling
        if self._candidate is None and now >= self._not_before and self._is_sure:
            self._candidate, self._began = self._neighbour(ceiling), now
        return self._candidate or self.best

    def record(self, threads: int, seconds: float, now: float, *, is_blind: bool) -> None:
        """A step took `seconds` per unit of work on `threads` threads."""
        if threads == self.best:
            self._usual.append(seconds)
            self._notice_change()
        elif threads == self._candidate:
            self._tried.append(seconds)
            if len(self._tried) == self._trial_steps or self._is_lost:
                self._judge(now, is_blind=is_blind)

    @property
    def _is_sure(self) -> bool:
        return len(self._usual) >= self._trial_steps

    @property
    def _is_lost(self) -> bool:
        """Whether the trial can't be won any more."""
        return sum(self._tried) > self._trial_steps * _WINS * mean(self._usual)

    def _notice_change(self) -> None:
        """Forgets what was usual when steps suddenly take another time."""
        steps = list(self._usual)
        before, latest = steps[:-_CHANGED_STEPS], steps[-_CHANGED_STEPS:]
        if not before:
            return
        is_slower = min(latest) > _CHANGED * median(before)
        if is_slower or _CHANGED * max(latest) < median(before):
            self._usual = deque(latest, maxlen=self._usual.maxlen)
            self._patience, self._not_before = _PATIENCE, 0.0
            self._is_stuck = is_slower

    def _judge(self, now: float, *, is_blind: bool) -> None:
        assert self._candidate is not None
        if not self._is_lost:
            self.best = self._candidate
            self._usual = deque(self._tried, maxlen=self._usual.maxlen)
            self._patience = _PATIENCE
        else:
            self._direction = -self._direction
            lost = (now - self._began) * (1 - mean(self._usual) / mean(self._tried))
            self._not_before = now + max(self._patience, _WORTH * lost)
            if not is_blind:
                self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self._candidate = None
        self._tried.clear()

    def _neighbour(self, ceiling: int) -> int | None:
        """The next count in the direction of the last success, or the other way at an end.

        When steps are slower than before, a single thread: it waits for none.
        """
        if self._is_stuck and self.best > 1:
            self._is_stuck, self._direction = False, 1
            return 1
        for direction in (self._direction, -self._direction):
            count = self.best + direction * max(1, self.best // 8)
            if 1 <= count <= min(self._most, ceiling):
                self._direction = direction
                return count
        return None


class Governor:
    """Chooses the thread count of each step; `pinned`: always `most`.

    `meter` tells what other processes leave; None where the system does not tell.
    """

    def __init__(
        self,
        most: int,
        *,
        pinned: bool = False,
        meter: LoadMeter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._is_pinned = pinned or most == 1
        self._meter = meter
        self._clock = clock
        self._ceiling = most
        self._is_blind = True
        self._looked = clock()
        self._decode = Tuner(most, _DECODE_TRIAL)
        self._prefill = Tuner(most, _PREFILL_TRIAL)
        self.step_seconds = 0.0
        """How long a step of one row takes, lately."""
        self.row_cost = _ROW_COST
        """What one more row adds to a decode step, in steps of one row, as measured lately."""

    def choose(self, rows: int) -> int:
        """Threads for a step of `rows` rows."""
        if self._is_pinned:
            return self._most
        now = self._clock()
        if now - self._looked >= _LOOK:
            self._look(now)
        if rows > _MOST_DECODE_ROWS and not self._is_blind:
            # It scales with every core that is free, and a step is too long for trials in vain.
            return self._ceiling
        return self._tuner(rows).choose(self._ceiling, now)

    def record(self, rows: int, threads: int, seconds: float) -> None:
        """A step of `rows` rows on `threads` threads took `seconds`."""
        if rows == 1:
            self.step_seconds += (seconds - self.step_seconds) * (
                _NEWEST if self.step_seconds else 1.0
            )
        elif rows <= _MOST_DECODE_ROWS and self.step_seconds:
            cost = max(0.0, seconds / self.step_seconds - 1) / (rows - 1)
            self.row_cost += (min(cost, 1.0) - self.row_cost) * _NEWEST
        if not self._is_pinned:
            work = 1 + _ROW_COST * (rows - 1) if rows <= _MOST_DECODE_ROWS else rows
            self._tuner(rows).record(
                threads, seconds / work, self._clock(), is_blind=self._is_blind
            )

    def _tuner(self, rows: int) -> Tuner:
        return self._decode if rows <= _MOST_DECODE_ROWS else self._prefill

    def _look(self, now: float) -> None:
        self._looked = now
        others = self._meter.others() if self._meter else None
        self._is_blind = others is None
        if others is None:
            self._ceiling = self._most
            return
        room = self._meter.cores - others if self._meter else 0.0
        if room < self._ceiling - _TAKEN:
            self._ceiling = max(1, floor(room + _TAKEN))
        elif room >= self._ceiling + 1 - _GIVEN_BACK:
            self._ceiling = min(self._most, floor(room + _GIVEN_BACK))
