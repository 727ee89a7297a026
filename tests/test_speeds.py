from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from localchat import speeds
from localchat.errors import LocalchatError
from localchat.speeds import Recorder, Speed
from localchat.types import LoadOptions, ModelRef, Timings, Usage

MODEL = ModelRef("m", "/models/m.gguf", "ab" * 32)
KEY = speeds.key(MODEL.sha256, MODEL.path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "speeds"


def recorder(folder: Path, draft: str | None = None, model: ModelRef = MODEL) -> Recorder:
    return Recorder(folder, model, LoadOptions(draft=draft))


def run(
    recorder: Recorder, tokens: int = 101, decode: float = 10.0, prompt: int = 10, cached: int = 0
) -> None:
    """A reply of so many tokens in so many seconds; its prompt took 2."""
    recorder.add(Usage(prompt, cached, tokens), Timings(0.0, 2.0, decode))


def test_the_median_of_the_runs_counts(folder: Path) -> None:
    here = recorder(folder)
    for seconds in (10.0, 20.0, 1.0):
        run(here, decode=seconds, prompt=100)
    here.save()
    assert speeds.find(folder, KEY) == Speed(decode=10.0, depth=150, prefill=50.0, runs=3)


@pytest.mark.parametrize(("tokens", "counts"), [(15, False), (16, True)])
def test_a_short_reply_says_nothing(folder: Path, tokens: int, counts: bool) -> None:
    here = recorder(folder)
    run(here, tokens)
    assert here.has_unsaved is counts


@pytest.mark.parametrize(("prompt", "cached", "rate"), [(163, 100, None), (164, 100, 32.0)])
def test_a_short_prompt_says_nothing(
    folder: Path, prompt: int, cached: int, rate: float | None
) -> None:
    here = recorder(folder)
    run(here, prompt=prompt, cached=cached)
    here.save()
    found = speeds.find(folder, KEY)
    assert found is not None
    assert found.prefill == rate


def test_a_run_that_took_no_time_does_not_count(folder: Path) -> None:
    here = recorder(folder)
    here.add(Usage(100, 0, 100), Timings(0.0, 0.0, 0.0))
    assert not here.has_unsaved


def test_with_a_draft_model_nothing_counts(folder: Path) -> None:
    here = recorder(folder, draft="/models/d.gguf")
    run(here, prompt=100)
    assert not here.has_unsaved


def test_the_newest_runs_push_the_oldest_out(folder: Path) -> None:
    for seconds in [100.0] * 30 + [10.0] * 16:
        here = recorder(folder)
        run(here, decode=seconds)
        here.save()
    assert speeds.find(folder, KEY) == Speed(decode=10.0, depth=60, prefill=None, runs=16)


def test_engines_add_to_what_others_saved(folder: Path) -> None:
    first, second = recorder(folder), recorder(folder)
    run(first)
    run(second)
    first.save()
    second.save()
    second.save()  # nothing new
    found = speeds.find(folder, KEY)
    assert found is not None
    assert found.runs == 2


def test_models_are_told_apart_by_content_else_by_path(folder: Path, tmp_path: Path) -> None:
    one, other = (ModelRef(name, str(tmp_path / name)) for name in ("one", "other"))
    here = recorder(folder, model=one)
    run(here)
    here.save()
    assert speeds.find(folder, speeds.key(None, one.path))
    assert not speeds.find(folder, speeds.key(None, other.path))
    assert speeds.key("ab", one.path) == speeds.key("ab", other.path) == "ab"


def test_nobody_else_can_read_it(folder: Path) -> None:
    before = os.umask(0)
    try:
        here = recorder(folder)
        run(here)
        here.save()
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "decode": [[1.0, 1]], "prefill": []}',
        '{"format": 1, "decode": [[NaN, 1]], "prefill": []}',
        '{"format": 1, "decode": [[1e400, 1]], "prefill": []}',
        '{"format": 1, "decode": [[-1.0, 1]], "prefill": []}',
        '{"format": 1, "decode": [[1.0, "1"]], "prefill": []}',
        '{"format": 1, "decode": [[1.0]], "prefill": []}',
        '{"format": 1, "decode": [[1.0, 1]]}',
    ],
)
def test_a_file_may_hold_anything(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / f"{KEY}.json").write_text(text)
    assert speeds.find(folder, KEY) is None
    here = recorder(folder)
    run(here)
    here.save()
    assert speeds.find(folder, KEY)


def test_what_cannot_be_written_is_an_error_and_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    here = recorder(tmp_path / "file" / "speeds")
    run(here)
    with pytest.raises(LocalchatError, match="can't be created"):
        here.save()
    assert not here.has_unsaved
