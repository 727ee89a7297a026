"""Only the speed of a request that had the engine to itself is kept, and never while one runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat import speeds
from localchat.events import Failed, Finished
from localchat.host.solo_runs import SoloRuns
from localchat.paths import Paths
from localchat.speeds import Recorder
from localchat.types import (
    GenerationRequest,
    LoadOptions,
    ModelRef,
    SamplingParams,
    Timings,
    Usage,
)
from tests.client import ENDLESS, has_ended, open_endless, open_model, request
from tests.conftest import wait_until

Tiny = Callable[..., Path]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "speeds", ModelRef("m", "/m.gguf"), LoadOptions())


@pytest.fixture
def runs(recorder: Recorder, said: list[str]) -> SoloRuns:
    return SoloRuns(recorder, said.append)


def asked(name: str = "a", **changes: Any) -> GenerationRequest:
    return replace(GenerationRequest(name, prompt="hello"), **changes)


def end(name: str = "a") -> Finished:
    return Finished(name, "stop", Usage(10, 0, 100), Timings(0.0, 0.1, 1.0), 1)


def test_a_request_that_was_alone_counts(runs: SoloRuns, recorder: Recorder) -> None:
    runs.arrived(asked(), others=False)
    runs.ended(end())
    assert recorder.has_unsaved


@pytest.mark.parametrize(
    "changes", [{"priority": "batch"}, {"params": SamplingParams(n=2)}], ids=["batch", "several"]
)
def test_work_of_another_kind_does_not(
    runs: SoloRuns, recorder: Recorder, changes: dict[str, Any]
) -> None:
    runs.arrived(asked(**changes), others=False)
    runs.ended(end())
    assert not recorder.has_unsaved


def test_neither_of_two_that_met_counts(runs: SoloRuns, recorder: Recorder) -> None:
    runs.arrived(asked("a"), others=False)
    runs.arrived(asked("b"), others=True)
    runs.ended(end("a"))
    runs.ended(end("b"))  # alone at its end, but not from its beginning
    assert not recorder.has_unsaved


def test_a_request_that_failed_does_not(runs: SoloRuns, recorder: Recorder) -> None:
    runs.arrived(asked(), others=False)
    runs.ended(Failed("a", "EngineFailed", "no"))
    assert not recorder.has_unsaved


def test_what_cannot_be_kept_is_logged(tmp_path: Path, runs: SoloRuns, said: list[str]) -> None:
    (tmp_path / "speeds").touch()
    runs.arrived(asked(), others=False)
    runs.ended(end())
    runs.save()
    (line,) = said
    assert line.startswith("the speed of a reply was not kept: ")


class TestARealEngine:
    def kept(self, places: Paths) -> list[Path]:
        return list(places.speeds.glob("*.json"))

    def test_keeps_the_speed_of_a_reply_when_it_is_idle(self, tiny: Tiny, places: Paths) -> None:
        model = tiny(**ENDLESS)
        client = open_endless(model)
        client.submit(request("hello " * 100, max_tokens=100))
        *_, last = client.events()
        assert isinstance(last, Finished)
        (file,) = wait_until(lambda: self.kept(places))
        assert file.stat().st_mode & 0o777 == 0o600
        found = speeds.find(places.speeds, speeds.key(None, str(model)))
        assert found is not None
        assert found.decode == pytest.approx(99 / last.timings.decode, abs=0.01)
        assert found.depth == last.usage.prompt_tokens + 50
        assert found.prefill is not None
        assert "hello" not in file.read_text()

    def test_writes_nothing_while_a_reply_is_decoded(self, tiny: Tiny, places: Paths) -> None:
        client = open_endless(tiny(**ENDLESS))
        other = open_endless(tiny(**ENDLESS))
        client.submit(request(max_tokens=20))
        *_, _ = client.events()
        wait_until(lambda: self.kept(places))
        (file,) = self.kept(places)
        before = file.stat().st_mtime_ns
        other.submit(request(max_tokens=4000))
        next(other.events())
        client.submit(request(max_tokens=20))
        *_, _ = client.events()
        assert file.stat().st_mtime_ns == before
        *_, last = other.events()
        assert isinstance(last, Finished)
        # Neither was alone, so there is nothing to keep afterwards either.
        client.submit(request(max_tokens=4))
        *_, _ = client.events()
        assert len(json.loads(file.read_text())["decode"]) == 1

    def test_a_folder_it_cannot_write_to_does_not_disturb_it(
        self, tiny: Tiny, places: Paths
    ) -> None:
        places.cache.mkdir(parents=True)
        places.speeds.touch()
        client = open_model(tiny(**ENDLESS))
        for _ in range(2):
            client.submit(request(max_tokens=20))
            *_, last = client.events()
            assert isinstance(last, Finished)
        os.kill(client.info.pid, 15)
        wait_until(lambda: has_ended(client.info.pid))
        (log,) = places.logs.glob("*.log")
        assert "the speed of a reply was not kept" in log.read_text()
