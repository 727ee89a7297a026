from __future__ import annotations

import json
from pathlib import Path

import pytest

from localchat import bandwidth
from localchat.hardware import Machine

MACHINE = Machine("A CPU", 2, (), ())
DAY = 86_400


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "bandwidth.json"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next measurements come to; an empty list makes one fail."""
    values: list[float] = []
    monkeypatch.setattr("os.getloadavg", lambda: (0.9, 0.0, 0.0))

    def measure(threads: int) -> float:
        if not values:
            raise OSError("no memory")
        return values.pop(0)

    monkeypatch.setattr(bandwidth, "measure", measure)
    return values


def pass_time(remembered: Path, seconds: float) -> None:
    kept = json.loads(remembered.read_text())
    remembered.write_text(json.dumps(kept | {"until": kept["until"] - seconds}))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_memory_is_read_at_some_rate(threads: int) -> None:
    assert 1e8 < bandwidth.measure(threads) < 1e13


@pytest.mark.parametrize(
    ("size", "area"),
    [("32768K", 2**26), ("98304K", 3 * 2**26), ("1048576K", 2**28), ("?", 2**26), (None, 2**26)],
)
def test_more_is_read_than_the_caches_hold(tmp_path: Path, size: str | None, area: int) -> None:
    if size:
        (tmp_path / bandwidth._CACHE).parent.mkdir(parents=True)
        (tmp_path / bandwidth._CACHE).write_text(f"{size}\n")
    assert bandwidth._area(tmp_path) == area


def test_it_is_measured_once_a_day(remembered: Path, measured: list[float]) -> None:
    measured += [5e9, 7e9]
    assert bandwidth.find(MACHINE, 2, remembered) == 5e9
    assert bandwidth.find(MACHINE, 2, remembered) == 5e9
    pass_time(remembered, DAY + 1)
    assert bandwidth.find(MACHINE, 2, remembered) == 7e9


def test_the_best_value_counts(remembered: Path, measured: list[float]) -> None:
    measured += [7e9, 5e9]
    bandwidth.find(MACHINE, 2, remembered)
    pass_time(remembered, DAY + 1)
    assert bandwidth.find(MACHINE, 2, remembered) == 7e9
    assert not measured


def test_on_a_busy_machine_it_is_measured_again_soon(
    remembered: Path, measured: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1.1, 0.0, 0.0))
    measured += [5e9, 7e9]
    assert bandwidth.find(MACHINE, 2, remembered) == 5e9
    assert bandwidth.find(MACHINE, 2, remembered) == 5e9
    pass_time(remembered, 601)
    assert bandwidth.find(MACHINE, 2, remembered) == 7e9


@pytest.mark.parametrize(
    ("machine", "threads"),
    [(Machine("Another CPU", 2, (), ()), 2), (Machine("A CPU", 4, (), ()), 2), (MACHINE, 1)],
)
def test_another_machine_is_measured_anew(
    remembered: Path, measured: list[float], machine: Machine, threads: int
) -> None:
    measured += [7e9, 5e9]
    bandwidth.find(MACHINE, 2, remembered)
    assert bandwidth.find(machine, threads, remembered) == 5e9


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"machine": ["A CPU", 2, 2], "read": NaN, "until": 9e99}']
)
def test_what_is_remembered_may_be_anything(
    remembered: Path, measured: list[float], text: str
) -> None:
    remembered.parent.mkdir()
    remembered.write_text(text)
    measured.append(5e9)
    assert bandwidth.find(MACHINE, 2, remembered) == 5e9


def test_a_clock_that_was_set_back_does_not_keep_a_value_for_good(
    remembered: Path, measured: list[float]
) -> None:
    measured += [5e9, 7e9]
    bandwidth.find(MACHINE, 2, remembered)
    pass_time(remembered, -1000)
    assert bandwidth.find(MACHINE, 2, remembered) == 7e9


def test_where_it_cannot_be_measured_there_is_no_value(
    remembered: Path, measured: list[float]
) -> None:
    assert bandwidth.find(MACHINE, 2, remembered) is None
    assert not remembered.exists()


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(
    tmp_path: Path, measured: list[float]
) -> None:
    (tmp_path / "file").touch()
    measured.append(5e9)
    assert bandwidth.find(MACHINE, 2, tmp_path / "file" / "bandwidth.json") == 5e9
