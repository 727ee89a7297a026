from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.installed import Record
from tests.conftest import CommandRunner
from tests.registry.planted import files_of, flip, put

from .conftest import Done, Runner

CHUNK = 64 * 2**20


def test_all_is_well(models: Runner, mine: Record) -> None:
    for arguments in ((), ("--all",), ("mine",), ("MINE",)):
        assert models("verify", *arguments) == Done(0, "mine: ok, 0.4 MB\n", "")


def test_nothing_is_installed(models: Runner) -> None:
    assert models("verify") == Done(0, "", "No model is installed.\n")
    assert models("verify", "--json") == Done(0, "[]\n", "")


def test_the_damaged_part_is_named(
    localchat: CommandRunner, installed_starter: Path, places: Paths
) -> None:
    installed_starter.unlink()
    record = installed.records(places)[0]
    put(places, b"GGUF" + bytes(record.size - 4), name="other", keys=("other",))
    (damaged,) = files_of(installed.find("other", places), places)  # type: ignore[arg-type]
    flip(damaged, CHUNK + 1)
    done = localchat("models", "verify")
    assert done.returncode == 4
    assert done.stdout == (
        f"other: damaged; bytes {CHUNK:,} to {record.size:,} ({damaged})\n"
        f"smollm2-135m: missing; the file is gone ({installed_starter})\n"
    )
    assert done.stderr == (
        "Error: Damaged or missing: other, smollm2-135m.\nTry: localchat models repair other\n"
    )


def test_a_truncated_file(models: Runner, mine: Record, places: Paths) -> None:
    (path,) = files_of(mine, places)
    path.chmod(0o644)
    os.truncate(path, 1000)
    done = models("verify", "mine")
    assert done.code == 4
    assert done.out == (
        f"mine: damaged; it ends after 1,000 of {mine.size:,} bytes;"
        f" bytes 0 to {mine.size:,} ({path})\n"
    )


def test_json(models: Runner, mine: Record, places: Paths) -> None:
    (path,) = files_of(mine, places)
    expected = {
        "model": "mine",
        "path": str(path),
        "state": "ok",
        "size": mine.size,
        "damaged": [],
        "reason": None,
    }
    done = models("verify", "--all", "--json")
    assert (done.code, json.loads(done.out)) == (0, [expected])
    flip(path, 77)
    done = models("verify", "mine", "--json")
    assert done.code == 4
    assert json.loads(done.out) == [expected | {"state": "damaged", "damaged": [[0, mine.size]]}]
    assert done.err.startswith("Error: Damaged or missing: mine.\n")


def test_a_model_without_a_record_is_verified_too(
    models: Runner, installed_starter: Path, places: Paths
) -> None:
    installed.lock_file(places).unlink()
    assert models("verify", "--all") == Done(0, "smollm2-135m: ok, 98.4 MB\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("mine", "--all"), 2, "Name a model, or give --all."),
        (("nobody",), 3, "There is no model called 'nobody'."),
        (("smollm2",), 3, "The model smollm2-135m is not installed."),
    ],
)
def test_what_can_not_be_verified(
    models: Runner, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = models("verify", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"Error: {said}")


def test_a_file_of_its_own_is_not_installed(models: Runner, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF")
    assert models("verify", str(path)) == Done(
        3,
        "",
        f"Error: {path} is not installed: it is a file of its own.\n"
        f"Try: localchat models import {path}\n",
    )
