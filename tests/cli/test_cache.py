from __future__ import annotations

import json

import pytest

from localchat.engine.snapshots import SnapshotStore
from localchat.paths import Paths
from tests.conftest import CommandRunner


@pytest.fixture
def filled(places: Paths) -> int:
    """Three snapshots of two models; the bytes they take."""
    for key, model, tokens in (("ab", "one", [1]), ("ab", "one", [2]), ("cd", "two", [1])):
        store = SnapshotStore(places.snapshots, key * 32, 10**9, model=model)
        store.write(tokens, bytes(200_000))
    return sum(path.stat().st_size for path in places.snapshots.glob("*.snapshot"))


def test_an_empty_cache(localchat: CommandRunner, places: Paths) -> None:
    lines = localchat("cache").stdout.splitlines()
    assert lines[:2] == [f"folder     {places.snapshots}", "snapshots  0"]
    assert lines[2].startswith("size       0.0 MB of ")
    assert len(lines) == 3
    assert json.loads(localchat("cache", "show", "--json").stdout)["unused_for"] is None
    assert not places.snapshots.exists()
    assert localchat("cache", "clear").stderr == "Removed 0 snapshots: 0 bytes (0.0 MB) freed.\n"


def test_what_is_kept_is_shown_by_model(
    localchat: CommandRunner, places: Paths, filled: int
) -> None:
    done = localchat("cache", env={"LOCALCHAT_SNAPSHOT_BUDGET": "500MB"})
    lines = done.stdout.splitlines()
    assert lines[1:3] == ["snapshots  3", "size       0.6 MB of 500 MB"]
    assert lines[3].startswith("oldest     last used ")
    assert [line.split()[2:] for line in lines[4:]] == [["2", "one"], ["1", "two"]]
    assert localchat("cache", "show").stdout.splitlines()[1] == "snapshots  3"

    shown = json.loads(localchat("cache", "show", "--json").stdout)
    assert (shown["snapshots"], shown["bytes"]) == (3, filled)
    assert shown["folder"] == str(places.snapshots)
    assert shown["unused_for"] >= 0
    assert 0 < shown["budget"] <= 2 * 10**9
    assert [(row["model"], row["snapshots"]) for row in shown["models"]] == [("one", 2), ("two", 1)]


def test_a_name_from_a_file_obeys_the_terminal_rules(
    localchat: CommandRunner, places: Paths
) -> None:
    store = SnapshotStore(places.snapshots, "ab" * 32, 10**9, model="\x1b]52;c;x\x07")
    store.write([1], b"state")
    assert "\x1b" not in localchat("cache").stdout
    assert "\x1b" not in localchat("cache", "show", "--json").stdout


def test_showing_leaves_what_is_being_written_alone(
    localchat: CommandRunner, places: Paths, filled: int
) -> None:
    unfinished = places.snapshots / "tmp1.writing"
    unfinished.write_bytes(bytes(1000))
    shown = json.loads(localchat("cache", "show", "--json").stdout)
    assert (shown["snapshots"], shown["bytes"]) == (3, filled + 1000)
    assert unfinished.exists()


def test_clearing_frees_all(localchat: CommandRunner, places: Paths, filled: int) -> None:
    done = localchat("cache", "clear")
    assert done.stdout == ""
    assert done.stderr == f"Removed 3 snapshots: {filled:,} bytes (0.6 MB) freed.\n"
    assert [path.name for path in places.snapshots.iterdir()] == ["lock"]
