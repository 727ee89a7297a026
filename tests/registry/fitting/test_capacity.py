from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localchat import bandwidth, room
from localchat.paths import Paths
from localchat.registry.fitting import capacity
from localchat.registry.fitting.capacity import Devices, gpus_may_be_there
from localchat.room import Room

GPU = {"free": 5 * 10**9, "has_own_memory": True}
SHARED = {"free": 7 * 10**9, "has_own_memory": False}


@pytest.fixture(autouse=True)
def _gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "gpus_may_be_there", lambda: True)


def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """llama.cpp's answer is what this shell script prints."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize(
    ("there", "offloads", "vram"),
    [
        ([GPU, SHARED, GPU], True, 10 * 10**9),
        ([SHARED], True, 0),
        ([GPU], False, 0),
    ],
)
def test_vram_is_what_gpus_have_to_themselves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: list[dict[str, Any]],
    offloads: bool,
    vram: int,
) -> None:
    said = json.dumps({"offloads": offloads, "devices": there})
    answering(tmp_path, monkeypatch, f"echo '{said}'")
    with Devices() as devices:
        assert devices.vram() == vram


@pytest.mark.parametrize(
    "script",
    ["kill -ABRT $$", "exit 1", "echo '[]'", 'echo \'{"error": "no"}\'', "exec sleep 60"],
)
def test_a_library_that_does_not_answer_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(capacity, "_PATIENCE", 0.3)
    answering(tmp_path, monkeypatch, script)
    with Devices() as devices:
        assert devices.vram() == 0


def test_who_does_not_wait_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(KeyError), Devices() as devices:
        raise KeyError
    assert devices._process is not None
    assert devices._process.returncode == -9


@pytest.mark.parametrize(("wanted", "there"), [(False, True), (True, False)])
def test_nobody_is_asked_where_no_gpu_is_wanted_or_there(
    monkeypatch: pytest.MonkeyPatch, wanted: bool, there: bool
) -> None:
    monkeypatch.setattr(capacity, "gpus_may_be_there", lambda: there)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert Devices(wanted=wanted).vram() == 0


@pytest.mark.parametrize(
    ("file", "there"),
    [
        ("nvidia0", True),
        ("nvidiactl", False),  # the driver is there, without a GPU
        ("kfd", True),
        ("dri/renderD128", True),
        ("dri/card0", False),  # a display that computes nothing
        ("dxg", True),
        (None, False),
    ],
)
def test_gpus_are_known_by_their_drivers(tmp_path: Path, file: str | None, there: bool) -> None:
    if file:
        (tmp_path / "dev" / file).parent.mkdir(parents=True)
        (tmp_path / "dev" / file).touch()
    assert gpus_may_be_there(tmp_path) is there


def test_the_machine(places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Path]] = []

    def find(machine: object, threads: int, remembered: Path) -> float:
        asked.append((threads, remembered))
        return 1e10

    monkeypatch.setattr(bandwidth, "find", find)
    monkeypatch.setattr(room, "find", lambda: Room(3, 4))
    found = capacity.find(places, Devices(wanted=False), threads=5)
    assert (found.memory, found.swap, found.vram) == (3, 4, 0)
    assert (found.bandwidth, found.threads) == (1e10, 5)
    # The folder of models isn't there yet: its disk is that of the nearest one that is.
    assert not places.models.exists()
    assert 0 < found.disk <= os.statvfs("/tmp").f_frsize * os.statvfs("/tmp").f_blocks
    assert asked == [(5, places.cache / "bandwidth.json")]
    assert 1 <= capacity.find(places, Devices(wanted=False)).threads <= (os.cpu_count() or 1)


def test_the_real_library_answers(places: Paths) -> None:
    with Devices() as devices:
        assert devices._process is not None
        assert devices.vram() >= 0
        assert devices._process.returncode == 0
