from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from localchat.cli import main
from localchat.paths import Paths
from localchat.registry.care import imports
from localchat.registry.installed import Record
from tests.conftest import Quiet
from tests.registry.conftest import sample as sample
from tests.registry.hub import hub as hub


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Runner(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture
def models(home: Path, capsys: pytest.CaptureFixture[str]) -> Runner:
    """Runs `localchat models ...` in this process."""

    def run(*arguments: str) -> Done:
        code = main.run(["models", *arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def mine(places: Paths, tiny: Callable[..., Path]) -> Record:
    """A tiny model, installed as `mine`."""
    return imports.import_file(
        tiny(), places, way="copy", name="mine", projector=None, watcher=Quiet()
    )
