"""How a transfer is shown: on a terminal, in a pipe, and to programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from localchat.cli import progress
from localchat.cli.progress import Events, Lines, Silent, shown
from tests.cli.terminal import on_terminal
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import FILE, REPO

Tiny = Callable[..., Path]
MB = 10**6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a tenth of a second after the one before."""
    ticks = count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks) / 10)  # type: ignore[attr-defined]


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestEvents:
    def test_not_more_often_than_anyone_could_read(
        self, clock: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = Events()
        for done in range(10):
            told.progress(done, 10)
        assert [event["done"] for event in events(capsys)] == [0, 3, 6, 9]

    def test_the_end_is_told_once(self, clock: None, capsys: pytest.CaptureFixture[str]) -> None:
        told = Events()
        for done in (0, 9, 10, 10):
            told.progress(done, 10)
        assert events(capsys) == [
            {"event": "progress", "done": 0, "total": 10},
            {"event": "progress", "done": 10, "total": 10},
        ]

    def test_notes(self, capsys: pytest.CaptureFixture[str]) -> None:
        Events().note("a\x1b[31m note")
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert json.loads(out) == {"event": "note", "text": "a\x1b[31m note"}


class TestLines:
    def test_a_line_for_every_tenth(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = Lines("Downloading x")
        for done in range(0, 1001):
            told.progress(done * MB, 1000 * MB)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines() == [
            f"Downloading x: {percent}% of 1,000 MB" for percent in range(0, 101, 10)
        ]

    def test_great_leaps_and_an_empty_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = Lines("x")
        for done in (0, 35, 39, 100):
            told.progress(done * MB, 100 * MB)
        Lines("y").progress(0, 0)
        told.note("A note.")
        assert capsys.readouterr().err.splitlines() == [
            "x: 0% of 100 MB",
            "x: 35% of 100 MB",
            "x: 100% of 100 MB",
            "y: 0% of 0 MB",
            "A note.",
        ]

    def test_what_does_not_take_long_is_silent(self, capsys: pytest.CaptureFixture[str]) -> None:
        with shown("Verifying", lines=False) as watcher:
            assert isinstance(watcher, Silent)
            watcher.progress(1, 2)
            watcher.note("A note.")
        assert capsys.readouterr() == ("", "A note.\n")
        with shown("Downloading") as watcher:
            assert isinstance(watcher, Lines)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestBar:
    @pytest.fixture(autouse=True)
    def _slow(self, hub: Hub, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("COLUMNS", "100")
        hub.add(REPO, FILE, tiny())
        hub.rate = 600_000

    def test_it_shows_rate_and_time_left_and_goes(self, hub: Hub) -> None:
        code, written = on_terminal("pull", REPO)
        assert code == 0
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())
        assert re.search(r"Downloading owner/model-GGUF .*\d/439\.1 kB .*\d kB/s 0:00:0\d", text)
        *_, last = written.decode().split("\x1b[2K")  # the bar's line is cleared at the end
        assert last.splitlines()[0] == (
            f"{REPO}:Q4_K_M came from hf:{REPO}/{FILE}@{hub.commit(REPO)}."
        )

    def test_ctrl_c_says_what_is_kept(self, hub: Hub) -> None:
        hub.rate = 100_000
        code, written = on_terminal("pull", REPO, answer=(b"kB/s", b"\x03"))
        assert code == 130
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.decode())
        assert re.search(
            r"Error: Stopped\. 0\.\d of 0\.4 MB are kept; the next download goes on from there\.\s+"
            rf"Try: localchat pull {REPO}:Q4_K_M\r\n\Z",
            text,
        )
        assert written.endswith(b"Q4_K_M\r\n")
        assert b"\x1b[?25h" in written  # the cursor is back
