from __future__ import annotations

from collections.abc import Callable

import pytest

from localchat.cli import main


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs `localchat presets` in this process, without a terminal: exit code, stdout, stderr."""
    monkeypatch.setattr("sys.stdin", None)

    def of(*arguments: str) -> tuple[int, str, str]:
        code = main.run(["presets", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return of
