"""Who talks to the network: `pull` and `repair`, what is asked to, and nobody else.

Every Python process of a command is watched, engines and other helpers too, from before its first
import.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND
from tests.conftest import CommandRunner
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import FILE, REPO

# Imported by every interpreter that finds it on its path, before anything else.
WATCH = """
import os, sys

def audit(event, given, log=os.environ["WATCH_LOG"], write=os.write, flags=os.O_WRONLY):
    if event == "socket.__new__" and given[1] not in (1, -1):
        seen = f"socket of family {given[1]}"
    elif event.startswith("socket.gethost") or event in ("socket.getaddrinfo", "socket.sendto"):
        seen = event
    elif event == "import" and given[0].split(".")[0] in ("huggingface_hub", "httpx2", "requests"):
        seen = f"import {given[0].split('.')[0]}"
    else:
        return
    descriptor = os.open(log, flags | os.O_APPEND)
    write(descriptor, f"{seen} by {sys.argv[1:3]}\\n".encode())
    os.close(descriptor)

sys.addaudithook(audit)
"""

OFFLINE = (
    ("The capital of France is", "--raw", "--max-tokens", "3"),
    ("ask", "hi", "--max-tokens", "3", "--json"),
    ("score", "hi", "-c", "yes", "-c", "no"),
    ("models", "list"),
    ("models", "list", "--installed", "--json"),
    ("models", "show", "starter"),
    ("models", "show", "qwen3-4b"),
    ("models", "fit"),
    ("models", "recommend"),
    ("models", "verify", "--all"),
    ("models", "repair", "starter"),
    ("models", "export", "starter", "{folder}/bundle"),
    ("models", "import", "{folder}/bundle"),
    ("models", "import", "{folder}/bundle/smollm2-135m.gguf"),
    ("models", "outdated"),
    ("models", "gc"),
    ("models", "alias", "s", "starter"),
    ("models", "path", "s"),
    ("pull", "starter"),
    ("ps",),
    ("cache",),
    ("config",),
    ("doctor",),
    ("stop", "--all"),
    ("models", "rm", "-y", "starter"),
)


@pytest.fixture
def watched(
    localchat: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Runs a command; what its processes did that only a network is needed for."""
    folder = tmp_path / "watch"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "seen"
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("WATCH_LOG", str(log))

    def run(*arguments: str) -> list[str]:
        log.write_text("")
        done = localchat(*arguments)
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines()

    return run


def test_no_command_but_pull_opens_a_socket(
    watched: Callable[..., list[str]], installed_starter: Path, tmp_path: Path
) -> None:
    for arguments in OFFLINE:
        given = [each.format(folder=tmp_path) for each in arguments]
        assert watched(*given) == [], arguments


def test_the_watch_sees_a_pull(
    watched: Callable[..., list[str]],
    hub: Hub,
    tiny: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It also tells that the hub's library asks for nothing else: no update, nobody's agents."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.add(REPO, FILE, tiny())
    seen = {line.partition(" by ")[0] for line in watched("pull", REPO)}
    assert seen >= {"socket of family 2", "import huggingface_hub", "import httpx2"}
    commit = hub.commit(REPO)
    asked = {request.path.partition("?")[0] for request in hub.requests}
    assert asked == {f"/api/models/{REPO}", f"/{REPO}/resolve/{commit}/{FILE}"}
    hub.requests.clear()
    watched("models", "outdated", "--online")
    assert {request.path.partition("?")[0] for request in hub.requests} == {f"/api/models/{REPO}"}


def test_the_watch_sees_an_engine(
    watched: Callable[..., list[str]], tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "watch" / "sitecustomize.py"
    planted = "if 'localchat.host' in sys.orig_argv: import socket; socket.socket()\n"
    path.write_text(path.read_text() + planted)
    seen = watched("-m", str(tiny()), "hi", "--max-tokens", "1")
    assert [line.partition(" by ")[0] for line in seen] == ["socket of family 2"]


def is_permitted() -> bool:
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not is_permitted(), reason="no namespace may be made here")
def test_where_there_is_no_network_at_all(home: Path, installed_starter: Path) -> None:
    def alone(*arguments: str) -> str:
        command = ["unshare", "-rn", *COMMAND, *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = json.loads(alone("ask", "The capital of France is", "--raw", "--temp", "0", "--json"))
    assert "Paris" in told["text"]
    rows = json.loads(alone("models", "list", "--installed", "--json"))
    assert [row["path"] for row in rows] == [str(installed_starter)]
    assert alone("models", "verify") == "smollm2-135m: ok, 98.4 MB\n"
    alone("stop", "--all")
