"""A batch that is killed at random moments, and run again: no row is missing, none asked twice.

A row counts as told when it is given out; from then on it may not be asked again. Runs are
children forked from this process, which spares them the imports; their engine is a fake that notes
what it is asked. Each proof is seen to fail on a planted bug.
"""

from __future__ import annotations

import csv
import os
import random
import time
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from localchat.batch import run_of_rows
from localchat.batch.journal import Finished, Journal
from localchat.events import Event
from localchat.types import GenerationRequest
from tests.batch import Engine, begin, entries, said, text
from tests.store.children import Acknowledge, Child
from tests.store.watched import watched_disk

pytestmark = pytest.mark.usefixtures("home")

ROWS_A_KILL = 25  # more than are finished between two
PACE = 0.001  # seconds a row
GROUP = 0.004  # seconds in which rows gather: so that many groups lie between two kills


def count_of(kills: int) -> int:
    return kills * ROWS_A_KILL


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "in.csv"


def write(table: Path, count: int) -> None:
    # Quoted newlines, so that a torn row would show.
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["n", "text"])
        writer.writerows([number, f"t\n{number}"] for number in range(count))


class Worker:
    """Works on a batch until it is killed, or done. It tells what it asks, and what is finished."""

    def __init__(self, table: Path, out: Path, *, in_order: bool) -> None:
        self._table = table
        self._out = out
        self._in_order = in_order

    def __call__(self, acknowledge: Acknowledge) -> None:
        run_of_rows._GROUP = GROUP  # of this child

        def answer(request: GenerationRequest) -> list[Event]:
            acknowledge("asked", said(request).split("\n")[1])
            time.sleep(PACE)
            return text(request, f"<{said(request)}>")

        run = begin(self._table, self._out, Engine(answer), in_order=self._in_order, concurrency=4)
        with run:
            for group in run.groups():
                for one in group:
                    if isinstance(one, Finished):
                        acknowledge("told", one.row.number - 1)
        acknowledge("end")


def kill_often(table: Path, kills: int, *, in_order: bool = True) -> int:
    """How many rows were told by runs that were killed then. Fails if one is lost or redone."""
    out = table.with_name("out.csv")
    count = count_of(kills)
    write(table, count)
    chance = random.Random(kills)
    worker = Worker(table, out, in_order=in_order)
    told: set[str] = set()
    for _ in range(kills):
        child = Child(worker)
        # By what it tells, not by time, which is worth little on a busy machine. None: it may be
        # killed while it opens its files.
        steps = [child.line() for _ in range(chance.choice([0, 1, chance.randrange(2, 60)]))]
        time.sleep(chance.uniform(0.0, 0.01))
        told = check(steps + child.kill(), told)
    lines = Child(worker).end()
    assert lines[-1] == ["end"]
    check(lines, told)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not in_order:
        rows.sort(key=lambda row: int(row["n"]))
    assert [row["n"] for row in rows] == [str(number) for number in range(count)]
    assert {row["answer"] == f"<t\n{row['n']}>" for row in rows} == {True}
    assert [entry.number for entry in entries(out)] == list(range(1, count + 1))
    return len(told)


def check(steps: list[list[str]], told: set[str]) -> set[str]:
    """What is told by now, when a run has taken these steps."""
    asked = [number for what, *number in steps if what == "asked"]
    again = {number for (number,) in asked} & told
    assert again == set(), "a finished row is asked again"
    return told | {step[1] for step in steps if step[0] == "told"}


@pytest.mark.parametrize("in_order", [True, False], ids=["in-order", "unordered"])
@pytest.mark.parametrize(
    "kills", [50, pytest.param(500, marks=pytest.mark.long)], ids=["50", "500"]
)
def test_nothing_is_missing_and_nothing_done_twice(table: Path, kills: int, in_order: bool) -> None:
    assert kill_often(table, kills, in_order=in_order) > kills


def test_the_proof_finds_rows_that_are_written_late(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Journal.commit
    late: list[Finished] = []

    def commit_the_last(self: Journal, group: list[Finished], *rest: object) -> None:
        due, late[:] = [*late], group
        commit(self, due, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "commit", commit_the_last)
    with pytest.raises(AssertionError, match="a finished row is asked again"):
        kill_often(table, 50)


def synced_before_told(table: Path) -> bool:
    """Whether what is told was written, and then waited for: only a power loss would tell."""
    write(table, 20)
    with watched_disk() as disk:
        run = begin(table, table.with_name("out.csv"), Engine(), concurrency=1)

        class Told(Queue[Any]):
            def put(self, *arguments: Any) -> None:
                disk.note("told")
                super().put(*arguments)

        run._kept = Told()  # type: ignore[assignment]
        with run:
            list(run.groups())
    log = [what for what, name in disk.events if name in ("", "rows.db-wal")]
    told = [place for place, what in enumerate(log) if what == "told"]
    assert len(told) > 2  # groups, the end, and that it was taken notice of
    return all(log[place - 1] == "sync" for place in told[:-2])


def test_what_is_told_is_on_the_disk(table: Path) -> None:
    assert synced_before_told(table)


def test_the_proof_finds_a_sync_that_is_left_out(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localchat.batch import journal

    pragmas = journal._PRAGMAS.replace("synchronous = FULL", "synchronous = NORMAL")
    monkeypatch.setattr(journal, "_PRAGMAS", pragmas)
    assert not synced_before_told(table)


def test_the_output_is_on_the_disk_before_it_is_in_its_place(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        done.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        done.append(("place", self.stat().st_ino))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    out = table.with_name("out.csv")
    write(table, 3)
    with begin(table, out, Engine()) as run:
        list(run.groups())
    file, folder = out.stat().st_ino, out.parent.stat().st_ino
    place = done.index(("place", file))
    assert ("sync", file) in done[:place]
    assert done[place + 1] == ("sync", folder)
