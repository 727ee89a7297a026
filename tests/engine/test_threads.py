from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from localchat import cgroups
from localchat.engine import threads
from localchat.engine.threads import Governor, ProcStat, default_threads

SEED = 7


class Machine:
    """Computes steps while other processes spin on some of its cores; its clock is simulated.

    Threads that have a core each share the work. Where there are too few cores, each waits at every
    barrier for the one that had to stand back: some three times the time of a single thread.
    """

    def __init__(self, cores: int, seconds: float) -> None:
        self.cores = cores
        self.spinning = 0
        self.now = 0.0
        self._seconds = seconds
        self._chance = random.Random(SEED)
        self._others = 0.0
        self._looked = (0.0, 0.0)

    def clock(self) -> float:
        return self.now

    def expected(self, count: int) -> float:
        """Seconds that a step takes on average."""
        share = min(1.0, self.cores / (count + self.spinning))
        if share == 1.0:
            return float(self._seconds * count**-0.9)
        return self._seconds * (1 if count == 1 else 3) / min(1.0, self.cores / (1 + self.spinning))

    def step(self, count: int) -> float:
        """Runs one; now and then something else comes in between."""
        share = min(1.0, self.cores / (count + self.spinning))
        seconds = self.expected(count) * self._chance.uniform(0.9, 1.1)
        if self._chance.random() < 0.02:
            seconds += 0.5 * self._seconds
        self._others += self.spinning * share * seconds
        self.now += seconds
        return seconds

    def others(self) -> float | None:
        """As a `LoadMeter` tells."""
        (then, before), now = self._looked, (self.now, self._others)
        self._looked = now
        return (now[1] - before) / (now[0] - then) if now[0] > then else None


def run(machine: Machine, governor: Governor, seconds: float, rows: int = 1) -> tuple[int, float]:
    """Steps made in that time, and the time they really took."""
    start, steps = machine.now, 0
    while machine.now < start + seconds:
        count = governor.choose(rows)
        governor.record(rows, count, machine.step(count))
        steps += 1
    return steps, machine.now - start


def best_rate(machine: Machine, most: int) -> float:
    """Steps per second of the best fixed count."""
    return 1 / min(machine.expected(count) for count in range(1, most + 1))


STATES = {2: (0, 1, 2, 0, 2, 1, 0), 4: (0, 1, 4, 2, 0, 4, 0)}


def check_states(
    cores: int, seconds: float, rows: int, *, has_meter: bool, settles: float, part: float = 0.9
) -> None:
    machine = Machine(cores, seconds)
    governor = Governor(cores, meter=machine if has_meter else None, clock=machine.clock)
    for spinning in STATES[cores]:
        machine.spinning = spinning
        run(machine, governor, settles, rows)
        steps, took = run(machine, governor, 20.0, rows)
        assert steps / took >= part * best_rate(machine, cores), f"{spinning} cores are taken"


@pytest.mark.parametrize(("rows", "seconds"), [(1, 0.008), (1, 0.05), (16, 0.06), (512, 0.4)])
@pytest.mark.parametrize("cores", [2, 4])
def test_the_count_follows_what_others_leave_within_two_seconds(
    cores: int, rows: int, seconds: float
) -> None:
    check_states(cores, seconds, rows, has_meter=True, settles=2.0)


@pytest.mark.parametrize("cores", [2, 4])
def test_trials_follow_it_too_where_the_system_does_not_tell(cores: int) -> None:
    check_states(cores, 0.008, 1, has_meter=False, settles=2.0)


@pytest.mark.parametrize(("rows", "seconds"), [(1, 0.05), (16, 0.06)])
@pytest.mark.parametrize("cores", [2, 4])
def test_slow_steps_take_longer_to_try(cores: int, rows: int, seconds: float) -> None:
    check_states(cores, seconds, rows, has_meter=False, settles=6.0)


def test_prefill_and_decode_have_counts_of_their_own() -> None:
    """A machine whose decoding is bound by memory: one thread is as good as four."""
    machine = Machine(4, 0.01)
    governor = Governor(4, meter=machine, clock=machine.clock)
    for _ in range(2000):
        count = governor.choose(1)
        machine.now += 0.01
        governor.record(1, count, 0.01 * (1 + 0.1 * count))
        count = governor.choose(512)
        machine.now += 0.1
        governor.record(512, count, 0.4 / count)
    assert governor.choose(512) == 4
    assert governor.choose(1) == 1


@pytest.mark.parametrize(("taken", "expected"), [(0.3, 2), (0.4, 1), (0.6, 1), (1.8, 1)])
def test_a_core_of_which_others_take_more_than_a_third_gets_no_thread(
    taken: float, expected: int
) -> None:
    class Meter:
        cores = 2

        def others(self) -> float:
            return taken

    machine = Machine(2, 0.01)
    governor = Governor(2, meter=Meter(), clock=machine.clock)
    machine.now = 1.0
    assert governor.choose(1) == expected


def test_a_pinned_count_is_never_changed() -> None:
    machine = Machine(4, 0.01)
    machine.spinning = 4
    governor = Governor(3, pinned=True, meter=machine, clock=machine.clock)
    for _ in range(500):
        assert governor.choose(1) == 3
        governor.record(1, 3, machine.step(3))


def test_a_step_of_many_rows_tells_what_a_row_costs() -> None:
    governor = Governor(2, pinned=True)
    for _ in range(200):
        governor.record(1, 2, 0.010)
        governor.record(9, 2, 0.026)
    assert governor.row_cost == pytest.approx(0.2)
    assert governor.step_seconds == pytest.approx(0.010)


def test_a_cost_is_never_more_than_a_step_and_needs_a_single_row_to_compare() -> None:
    governor = Governor(2, pinned=True)
    before = governor.row_cost
    governor.record(8, 2, 0.1)
    governor.record(512, 2, 3.0)
    assert governor.row_cost == before
    governor.record(1, 2, 0.01)
    for _ in range(200):
        governor.record(2, 2, 5.0)
    assert governor.row_cost == pytest.approx(1.0)


class FakeStat:
    """A `/proc/stat` of two cores, of which the process may use both."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.now = self.used = 0.0
        monkeypatch.setattr(threads, "_STAT", path)
        monkeypatch.setattr(threads, "_own_cpus", lambda: {0, 1})
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.used)
        monkeypatch.setattr(os, "sysconf", lambda name: 100)
        self.idle = [0, 0]
        self.write()

    def write(self) -> None:
        """Ticks of 10 ms: user nice system idle iowait irq; and a core that is not ours."""
        lines = [f"cpu{i} 5 0 5 {ticks} 0 0" for i, ticks in enumerate(self.idle)]
        self.path.write_text("\n".join(["cpu 1 1 1 1 1", *lines, "cpu2 0 0 0 999 0 0", "intr 1"]))

    def passes(self, seconds: float, *, used: float, idle: float) -> None:
        self.now += seconds
        self.used += used
        self.idle[0] += round(100 * idle / 2)
        self.idle[1] += round(100 * idle / 2)
        self.write()


def test_what_is_neither_idle_nor_ours_is_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = FakeStat(tmp_path / "stat", monkeypatch)
    meter = ProcStat()
    assert meter.cores == 2
    stat.passes(1.0, used=0.5, idle=1.0)
    assert meter.others() == pytest.approx(0.5)
    stat.passes(2.0, used=4.0, idle=0.0)
    assert meter.others() == pytest.approx(0.0)
    stat.passes(1.0, used=1.5, idle=1.0)
    assert meter.others() == 0.0, "never below"


def test_without_time_or_a_file_it_can_not_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = FakeStat(tmp_path / "stat", monkeypatch)
    meter = ProcStat()
    assert meter.others() is None
    stat.path.unlink()
    stat.now += 1.0
    assert meter.others() is None
    stat.passes(1.0, used=0.0, idle=2.0)
    assert meter.others() is None, "there is nothing to compare with"
    stat.passes(1.0, used=0.0, idle=1.0)
    assert meter.others() == pytest.approx(1.0)


@pytest.mark.parametrize(("smt", "expected"), [("1\n", 4), ("0\n", 8), (None, 8)])
def test_one_thread_for_each_core(
    smt: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if smt is not None:
        (tmp_path / "active").write_text(smt)
    monkeypatch.setattr(threads, "_SMT", tmp_path / "active")
    monkeypatch.setattr(threads, "_own_cpus", lambda: set(range(8)))
    monkeypatch.setattr(cgroups, "processors", lambda: None)
    assert default_threads() == expected


@pytest.mark.parametrize(("granted", "expected"), [(0.5, 1), (1.9, 1), (3.0, 3), (64.0, 8)])
def test_no_more_threads_than_a_control_group_grants_the_time_of(
    granted: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_SMT", tmp_path / "none")
    monkeypatch.setattr(threads, "_own_cpus", lambda: set(range(8)))
    monkeypatch.setattr(cgroups, "processors", lambda: granted)
    assert default_threads() == expected
