from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.cli import engine, main
from localchat.client.scripted import ScriptedClient


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path]) -> Callable[..., int]:
    """Runs a command line in this process, on a client whose words are chosen; its exit code."""
    monkeypatch.setattr("sys.stdin", None)

    def run(client: ScriptedClient, *arguments: str) -> int:
        monkeypatch.setattr(engine, "open_engine", lambda *_: client)
        code = main.run([*arguments, "-m", str(tiny())])
        assert client.is_closed or not client.requests
        return code

    return run
