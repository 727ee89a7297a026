"""How far a batch is, as it is told while it runs."""

from __future__ import annotations

import pytest

from localchat.batch.run_of_rows import Tally
from localchat.cli.batch.progress import Lines, Pace, describe, duration, total


def tally(**values: int | bool) -> Tally:
    return Tally(started=0.0, **values)  # type: ignore[arg-type]


def test_the_pace_is_that_of_late() -> None:
    pace = Pace()
    now = 0.0
    for rows in range(1, 251):  # ten rows a second, then two
        now += 0.1 if rows <= 100 else 0.5
        pace.mark(tally(finished=rows, completion_tokens=10 * rows), now)
    state = tally(finished=250, known=50, total=400, completion_tokens=2500)
    rows_per_second, tokens_per_second = pace.rates(state, now)
    assert 2.0 <= rows_per_second < 2.5
    assert 20 <= tokens_per_second < 25
    assert pace.left(state, now) == pytest.approx(100 / rows_per_second)


def test_what_was_finished_before_is_no_pace() -> None:
    pace = Pace()
    state = tally(known=1000, total=2000)
    pace.mark(state, 1.0)
    assert pace.left(state, 1.0) is None
    assert describe(state, pace, 1.0) == "all of them finished before"


def test_labels_have_no_tokens_a_second() -> None:
    pace = Pace()
    state = tally(finished=10, total=30)
    pace.mark(state, 1.0)
    assert describe(state, pace, 1.0) == "10.0 rows/s, 0 failed, 2 s left"


def test_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("localchat.cli.batch.progress.time.monotonic", lambda: clock[0])
    lines = Lines()
    for second in range(25):
        clock[0] = float(second)
        lines.update(tally(finished=second, failed=1, completion_tokens=20 * second, total=100))
    assert capsys.readouterr().err.splitlines() == [
        "10 of about 100 rows: 1.0 rows/s, 20 tokens/s, 1 failed, 1 min 30 s left",
        "20 of about 100 rows: 1.0 rows/s, 20 tokens/s, 1 failed, 1 min 20 s left",
    ]


def test_numbers_for_people() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.4, 61, 7500)] == [
        "1 s",
        "59 s",
        "1 min 1 s",
        "2 h 5 min",
    ]
    assert total(tally()) == "?"
    assert total(tally(total=1000)) == "about 1,000"
    assert total(tally(total=1000, is_exact=True)) == "1,000"
