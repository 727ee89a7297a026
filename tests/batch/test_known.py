"""Rows that were finished before: many are looked up at once, and go together."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from localchat.batch import journal
from localchat.batch.beside import folder_of
from localchat.batch.journal import Journal
from tests.batch import Engine, answered, batch, begin, said

pytestmark = pytest.mark.usefixtures("home")


def write(path: Path, ids: list[int]) -> None:
    path.write_text("custom_id,text\n" + "".join(f"r{id_},t{id_}\n" for id_ in ids))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_MOST_PLACES", 3)


@pytest.mark.parametrize(
    "ids",
    [
        list(range(10)),
        list(reversed(range(10))),
        [9, 0, 8, 1, 7, 2],
        [11, *range(10), 10],
    ],
)
def test_a_row_is_found_wherever_it_was(tmp_path: Path, ids: list[int]) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write(table, list(range(10)))
    batch(table, out)
    write(table, ids)
    engine = Engine()
    run = batch(table, out, engine)
    assert sorted(map(said, engine.requests)) == [f"t{id_}" for id_ in sorted(ids) if id_ >= 10]
    assert run.tally.known == sum(id_ < 10 for id_ in ids)
    assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == [
        f"r{id_}" for id_ in ids
    ]


def test_rows_in_their_old_place_are_looked_up_together(tmp_path: Path) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write(table, list(range(10)))
    batch(table, out)
    asked = []
    with contextlib.closing(Journal(folder_of(out) / "rows.db")) as found:
        found._connection.trace_v2(1, lambda event: asked.append(event["sql"]))
        assert [found.place(f"r{id_}", id_ + 1) is not None for id_ in range(10)] == [True] * 10
    assert sum("FROM rows" in sql for sql in asked) == 4


def test_rows_of_a_file_go_in_groups_and_those_of_a_pipe_one_by_one(tmp_path: Path) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    write(table, list(range(10)))
    batch(table, out)
    run = begin(table, out, Engine())
    assert [len(group) for group in run._flight._grouped() if isinstance(group, list)] == [10]
    answered(run)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    os.write(end, table.read_bytes() + b"r10,t10\n")
    try:
        run = begin(pipe, out, Engine(), format="csv")
        with run:
            first = next(run._flight._grouped())
        assert isinstance(first, list)
        assert len(first) == 1
    finally:
        os.close(end)
