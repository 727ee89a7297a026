"""Engines that die under a batch: rows are asked again, and the one that kills is found out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from localchat.errors import EngineDied, ModelLoadFailed
from tests.batch import Engine, Engines, answered, batch, begin, entries, said
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "".join(f"t{n}\n" for n in range(40)))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def failed(out: Path) -> list[int]:
    """Numbers of the rows that have no answer; all rows are there."""
    found = entries(out)
    assert [entry.number for entry in found] == list(range(1, 41))
    return [entry.number for entry in found if entry.outcome.error is not None]


def test_a_death_costs_no_row(table: Path, out: Path) -> None:
    first, second = Engine(deadly=("t7",)), Engine()
    batch(table, out, Engines(first, second), concurrency=8)
    assert failed(out) == []
    assert first.is_closed
    # What was with the first one is asked of the second alone, row by row, until it is known.
    again = set(map(said, first.requests)) & set(map(said, second.requests))
    assert 1 <= len(again) <= 8
    assert "t7" in again


def test_a_row_that_kills_twice_is_an_error_and_no_other(table: Path, out: Path) -> None:
    engines = [Engine(deadly=("t7",)) for _ in range(3)]
    opener = Engines(*engines)
    batch(table, out, opener, concurrency=8)
    assert failed(out) == [8]
    assert opener.opened == 3
    error = entries(out)[7].outcome.error
    assert error is not None
    assert error.code == "KilledEngine"


def test_suspects_go_alone(table: Path, out: Path) -> None:
    first, second, third = Engine(deadly=("t0",)), Engine(deadly=("t2",)), Engine()
    first.holds = second.holds = True
    run = begin(table, out, Engines(first, second, third), concurrency=8)
    answering = threading.Thread(target=answered, args=(run,))
    answering.start()
    wait_until(lambda: len(first.requests) == 8)
    first.release()
    wait_until(lambda: second.requests)
    assert not run._flight._has_room()
    second.release()
    answering.join()
    assert failed(out) == [3]
    assert [said(request) for request in second.requests] == ["t0", "t1", "t2"]
    assert second.most == 1
    assert [said(request) for request in third.requests] == [f"t{n}" for n in range(3, 40)]


def test_an_engine_that_dies_over_everything_ends_the_run(table: Path, out: Path) -> None:
    deadly = tuple(f"t{n}" for n in range(5, 40))
    run = begin(table, out, Engines(Engine(deadly=deadly)), concurrency=4)
    with pytest.raises(EngineDied):
        answered(run)
    # What was answered before is kept, and goes on with another engine.
    assert 3 <= len(entries(out)) < 12
    batch(table, out, Engine())
    assert [entry.number for entry in entries(out)] == list(range(1, 41))


@pytest.mark.parametrize("first", [True, False])
def test_an_engine_that_can_not_be_opened_ends_the_run(table: Path, out: Path, first: bool) -> None:
    class Broken(Engines):
        def __call__(self) -> Engine:
            if first or self.opened:
                raise ModelLoadFailed("The file is no model.")
            self.opened += 1
            return Engine(deadly=("t7",))

    with pytest.raises(ModelLoadFailed, match="no model"):
        batch(table, out, Broken())
    assert len(entries(out)) == (0 if first else 7)


def test_a_reader_that_fails_ends_the_run(table: Path, out: Path) -> None:
    run = begin(table, out, Engine())

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    run._intake._requests.row = fail  # type: ignore[assignment,method-assign]
    with pytest.raises(OSError, match="Input/output error"):
        answered(run)
