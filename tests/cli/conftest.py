from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localchat import paths
from localchat.cli import engine, main
from localchat.client.engines import running
from localchat.client.scripted import ScriptedClient
from localchat.registry.pull import Pulled
from tests.conftest import install


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


@pytest.fixture(scope="module")
def warm_home(
    fetched: Callable[[str], Pulled], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("warm") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALCHAT_HOME", str(folder))
        places = paths.find()
    install(fetched("smollm2-135m"), places)
    yield folder
    for started in running(places):
        started.stop()
    shutil.rmtree(places.runtime, ignore_errors=True)


@pytest.fixture
def warm_starter(home: Path, warm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starter model, in a home that the tests of a module share: its engine need not start
    again for each. For tests that neither ask what else is there nor what came before."""
    monkeypatch.setenv("LOCALCHAT_HOME", str(warm_home))
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")
