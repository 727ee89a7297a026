from __future__ import annotations

import json

from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.installed import Record
from tests.registry.planted import files_of

from .conftest import Done, Runner


def test_nothing_to_clear_up(models: Runner, mine: Record, places: Paths) -> None:
    assert models("gc") == Done(0, "0.0 MB are free now.\n", "")
    assert files_of(mine, places)[0].exists()


def test_no_model_was_ever_here(models: Runner) -> None:
    assert models("gc") == Done(0, "0.0 MB are free now.\n", "")


def test_what_is_removed_is_said(models: Runner, mine: Record, places: Paths) -> None:
    partial = places.models / f"{'a' * 64}.partial"
    partial.write_bytes(bytes(2_500_000))
    installed.forget("mine", places)
    size = mine.size + files_of(mine, places)[0].with_suffix(".chunks").stat().st_size
    rows = sorted(
        [
            ("a" * 64, f"{'a' * 12}        2.5 MB  unfinished\n"),
            (mine.sha256, f"{mine.sha256[:12]}        0.4 MB  unused\n"),
        ]
    )
    shown = "".join(line for _, line in rows)
    for flag in ("-n", "--dry-run"):
        assert models("gc", flag) == Done(0, f"{shown}2.9 MB would be free.\n", "")
    told = json.loads(models("gc", "-n", "--json").out)
    assert (told["dry_run"], told["freed"]) == (True, size + 2_500_000)
    assert {"name": mine.sha256, "size": size, "kind": "unused"} in told["files"]
    assert partial.exists()
    assert models("gc") == Done(0, f"{shown}2.9 MB are free now.\n", "")
    assert {path.name for path in places.models.iterdir()} == {"lock.json", "lock.json.lock"}
    assert json.loads(models("gc", "--json").out) == {"dry_run": False, "freed": 0, "files": []}
