from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.cli import engine, main
from tests.batch import Engine

Batch = Callable[..., int]


@pytest.fixture
def batch(
    monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path], tmp_path: Path
) -> Callable[..., int]:
    """Runs `localchat batch` in a folder of its own, on an engine whose answers are chosen."""
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.chdir(tmp_path)
    model = str(tiny())

    def run(answering: Engine, *arguments: str) -> int:
        monkeypatch.setattr(engine, "open_engine", lambda *_: answering)
        return main.run(["batch", *arguments, *(() if "status" in arguments else ("-m", model))])

    return run
