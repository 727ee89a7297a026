"""What tests of the engine process and its clients share."""

from __future__ import annotations

import os
import secrets
import weakref
from pathlib import Path
from typing import Any

import pytest

from localchat import paths
from localchat.client.launcher import open_engine
from localchat.client.socket_client import SocketClient
from localchat.events import Event, Finished, TextDelta
from localchat.types import GenerationRequest, LoadOptions, ModelRef, SamplingParams

ENDLESS = {"context_length": 32768, "seed": 1}
"""Options of a tiny model whose greedy reply to "hello" goes on for many seconds."""


def open_model(path: Path, keep_alive: float = 60.0, **options: Any) -> SocketClient:
    """A client that closes itself when the test that asked for it has ended."""
    options = {"parallel": 4, "threads": 1} | options
    model = ModelRef(str(path), str(path))
    client = open_engine(model, LoadOptions(**options), keep_alive, paths.find())
    weakref.finalize(client, client._socket.close)
    return client


def open_endless(path: Path, keep_alive: float = 60.0) -> SocketClient:
    return open_model(path, keep_alive, context=ENDLESS["context_length"])


def request(prompt: str = "hello", **params: Any) -> GenerationRequest:
    params = {"temperature": 0.0, "seed": 1} | params
    return GenerationRequest(
        secrets.token_hex(4), prompt=prompt, params=SamplingParams(**params), reuse_cache=False
    )


def reply(client: SocketClient, prompt: str = "hello", **params: Any) -> str:
    """The whole text of one greedy completion."""
    client.submit(request(prompt, **params))
    events: list[Event] = list(client.events())
    assert isinstance(events[-1], Finished), events[-1]
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def start_replying(client: SocketClient, prompt: str = "hello") -> None:
    """Returns while the completion is being decoded."""
    client.submit(request(prompt))
    next(event for event in client.events() if isinstance(event, TextDelta))


def patch_engines(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Engines started from now on run `code` before their own."""
    spawn = os.posix_spawn

    def patched(program: str, arguments: list[str], *rest: Any, **options: Any) -> int:
        whole = f"{code}\nimport localchat.host.__main__"
        return spawn(program, [program, "-P", "-c", whole, arguments[-1]], *rest, **options)

    monkeypatch.setattr("os.posix_spawn", patched)


def has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # ours, and nobody has asked for its exit status
