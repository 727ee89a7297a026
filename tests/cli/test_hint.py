"""The hint after the starter's first answer: once, on a terminal, and never in the way."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat import bandwidth
from localchat.cli import hint
from localchat.cli.models import recommend
from localchat.config import Settings
from localchat.paths import Paths
from localchat.registry.fitting import capacity
from localchat.registry.fitting import ranking as fits
from localchat.registry.fitting.recommendation import Recommendation
from localchat.types import ModelRef
from tests.conftest import CommandRunner
from tests.registry.fitting.test_ranking import MACHINE, MODEL

COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]
STARTER = ModelRef("smollm2-135m", "/m.gguf")
BRIEF = ("--temp", "0", "--max-tokens", "4", "Hello")


@pytest.fixture
def best(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what is recommended."""

    def choose(**changes: Any) -> None:
        candidate = replace(MODEL, **changes)
        (fit,) = fits.rank([candidate], MACHINE, fits.Question(), Path("/nowhere"))
        found = Recommendation(fit, "because")
        monkeypatch.setattr(recommend, "choose", lambda *_: found)

    choose()
    return choose


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, best: object
) -> Callable[..., str]:
    """What is said after an answer on a terminal, or on what is one but for the stream `pipe`."""

    def after(model: ModelRef = STARTER, pipe: str = "", **settings: Any) -> str:
        for name in ("stdout", "stderr"):
            is_terminal = name != pipe
            monkeypatch.setattr(getattr(sys, name), "isatty", lambda found=is_terminal: found)
        hint.after(model, Settings(**settings))
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return after


Say = Callable[..., str]


class TestHint:
    def test_is_said_once(self, say: Say, places: Paths) -> None:
        assert say() == (
            "A larger model fits this machine: localchat pull m (5.0 GB, about 7 tokens/s)."
            " See also: localchat models fit\n"
        )
        assert say() == ""
        assert [path.name for path in places.state.iterdir()] == ["recommended"]

    def test_an_installed_model_need_not_be_pulled(
        self, say: Say, best: Callable[..., None]
    ) -> None:
        best(installed=True)
        assert "machine: localchat -m m … (it is installed, about 7" in say()

    def test_the_starter_itself_is_not_recommended(
        self, say: Say, best: Callable[..., None]
    ) -> None:
        best(name=STARTER.name)
        assert say() == ""

    @pytest.mark.parametrize(
        ("model", "offline"),
        [
            (ModelRef("qwen3-4b", "/m.gguf"), False),
            (ModelRef("/m.gguf", "/m.gguf"), False),
            (STARTER, True),
        ],
    )
    def test_who_has_chosen_is_not_told(
        self, say: Say, places: Paths, model: ModelRef, offline: bool
    ) -> None:
        assert say(model, offline=offline) == ""
        assert not places.state.exists()  # it is still to be said

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_a_pipe_gets_none(self, say: Say, places: Paths, stream: str) -> None:
        assert say(pipe=stream) == ""
        assert not places.state.exists()

    @pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
    def test_what_goes_wrong_is_not_said_and_not_tried_again(
        self,
        say: Say,
        monkeypatch: pytest.MonkeyPatch,
        error: type[BaseException],
    ) -> None:
        tries = []

        def fail(*_: Any) -> Any:
            tries.append(1)
            raise error

        monkeypatch.setattr(recommend, "choose", fail)
        assert say() + say() == ""
        assert tries == [1]

    def test_a_state_folder_that_cannot_be_made_costs_nothing(
        self, say: Say, places: Paths
    ) -> None:
        places.state.parent.mkdir(parents=True)
        places.state.touch()
        assert say() == ""


@pytest.mark.usefixtures("installed_starter")
class TestTheRealCommand:
    def ask(self, *arguments: str) -> str:
        """What stands on the terminal when the command has ended well."""
        ours, its = pty.openpty()
        with subprocess.Popen(
            [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=its, stderr=its
        ) as process:
            os.close(its)
            shown = b""
            while piece := self.read(ours):
                shown += piece
            os.close(ours)
        assert process.returncode == 0
        return shown.decode()

    def read(self, terminal: int) -> bytes:
        try:
            return os.read(terminal, 4096)
        except OSError:  # Linux's way to say that nobody has the other end any more
            return b""

    def test_says_it_after_the_first_answer_on_a_terminal(
        self, localchat: CommandRunner, monkeypatch: pytest.MonkeyPatch, places: Paths
    ) -> None:
        monkeypatch.setenv("LOCALCHAT_THREADS", "1")
        # Remembered, or what is recommended would hang on how busy this machine is now.
        monkeypatch.setattr(bandwidth, "measure", lambda *_: 40e9)
        capacity.find(places, capacity.Devices(wanted=False), threads=1)
        assert localchat(*BRIEF).stderr == ""
        for flag in ("--json", "--no-stream"):
            assert "larger model" not in self.ask(*BRIEF, flag)
        first = self.ask(*BRIEF)
        assert re.search(
            r"\nA larger model fits this machine: localchat pull [\w.-]+ \([\d.]+ [GM]B, about"
            r" \d+ tokens/s\)\. See also: localchat models fit\r\n$",
            first,
        )
        assert "larger model" not in self.ask(*BRIEF)
