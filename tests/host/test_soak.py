"""Many short requests, some of them given up: an engine process does not grow by them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.client.engines import running
from localchat.client.socket_client import SocketClient
from localchat.events import LAST_EVENTS, Failed
from localchat.paths import Paths
from localchat.types import GenerationRequest, SamplingParams
from tests.client import open_model
from tests.conftest import wait_until

AT_ONCE = 12


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.long)])
def test_requests_leave_nothing_behind(
    count: int, tiny: Callable[..., Path], places: Paths
) -> None:
    client = open_model(tiny(context_length=1024))
    chance = random.Random(count)
    serve(client, chance, 0, count // 2)  # to warm up
    pid = client.pid
    assert pid is not None
    memory, descriptors = resident(pid), open_descriptors(pid)
    serve(client, chance, count // 2, count)
    assert resident(pid) <= 1.05 * memory
    assert open_descriptors(pid) == descriptors
    wait_until(lambda: running(places)[0].status["state"] == "idle")
    assert running(places)[0].status["requests"] == 0
    client.close()


def serve(client: SocketClient, chance: random.Random, first: int, end: int) -> None:
    """Some requests at a time, each ended or cancelled; every one has exactly one last event."""
    client._socket.settimeout(30)
    names = [f"{number}" for number in range(first, end)]
    coming, open_ = iter(names), set[str]()
    ended: list[str] = []
    events = client.events()
    while len(ended) < len(names):
        while len(open_) < AT_ONCE and (name := next(coming, None)):
            client.submit(short_request(name, chance))
            open_.add(name)
        if chance.random() < 0.1:
            client.cancel(chance.choice(sorted(open_)))
        event = next(events)
        if isinstance(event, LAST_EVENTS):
            assert not isinstance(event, Failed), event
            ended.append(event.request_id)
            open_.remove(event.request_id)
    assert sorted(ended) == sorted(names)


def short_request(name: str, chance: random.Random) -> GenerationRequest:
    shared = " hello" * chance.choice((0, 40, 80))
    params = SamplingParams(
        max_tokens=chance.randrange(1, 24),
        n=chance.choice((1, 1, 1, 2)),
        logprobs=chance.choice((None, None, 2)),
    )
    return GenerationRequest(
        name,
        prompt=f"{shared} the {name}",
        params=params,
        reuse_cache=chance.random() < 0.8,
        priority=chance.choice(("interactive", "batch")),
        continuations=("1", "hello the") if chance.random() < 0.1 else (),
    )


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
