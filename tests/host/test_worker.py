"""Conversations outlive their engine: what it saves, when, and what comes of it in the next one.

Real engine processes with a tiny model; each is really stopped, or killed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat.client.engines import running
from localchat.client.socket_client import SocketClient
from localchat.engine.load import LoadedEngine
from localchat.errors import EngineDied
from localchat.events import Finished, TextDelta
from localchat.host import worker
from localchat.host.worker import Worker
from localchat.paths import Paths
from localchat.snapshot_files import Entry, entries, forget, load_head, owner_of, unpack
from localchat.types import GenerationRequest, LoadOptions, ModelRef, SamplingParams
from tests.client import has_ended, open_model, patch_engines
from tests.conftest import wait_until

Tiny = Callable[..., Path]

PROMPT = " hello the" * 100
TOKENS = 400
"""Of the prompt."""
NEVER = "from localchat.host import worker; worker._QUIET = 1000.0"
SOON = "from localchat.host import worker; worker._QUIET = 0.01"


@pytest.fixture
def model(tiny: Tiny) -> Path:
    return tiny(context_length=8192, seed=1)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines save when they leave, and not before."""
    patch_engines(monkeypatch, NEVER)


def turn(prompt: str = PROMPT, max_tokens: int | None = 8) -> GenerationRequest:
    params = SamplingParams(temperature=0.0, seed=1, max_tokens=max_tokens)
    return GenerationRequest("turn", prompt=prompt, params=params, conversation="c")


def ask(client: SocketClient, request: GenerationRequest) -> tuple[str, Finished]:
    client.submit(request)
    *events, last = client.events()
    assert isinstance(last, Finished), last
    return "".join(event.text for event in events if isinstance(event, TextDelta)), last


def cached_tokens(client: SocketClient, request: GenerationRequest) -> int:
    return ask(client, request)[1].usage.cached_tokens


def stop(places: Paths) -> None:
    """As `localchat stop` does; the engine leaves by itself, it is not killed."""
    (engine,) = running(places)
    engine.stop()
    assert os.waitstatus_to_exitcode(os.waitpid(engine.status["pid"], 0)[1]) == 0


def saved(places: Paths) -> list[Entry]:
    return entries(places.snapshots)


def held(entry: Entry) -> int:
    """Tokens of a snapshot."""
    head = load_head(entry.path)
    assert head is not None
    return len(unpack(head.packed))


@pytest.mark.usefixtures("waits")
def test_a_conversation_goes_on_in_the_next_engine(model: Path, places: Paths) -> None:
    answer, end = ask(open_model(model), turn())
    assert not saved(places)
    stop(places)
    (entry,) = saved(places)
    assert entry.path.stat().st_mode & 0o777 == 0o600
    computed = TOKENS + end.usage.completion_tokens - 1  # the last token was never computed with
    assert held(entry) == computed

    client = open_model(model)
    more = turn(f"{PROMPT}{answer} hello")
    assert cached_tokens(client, more) >= TOKENS
    assert ask(client, more)[0] == ask(client, replace(more, reuse_cache=False))[0]


@pytest.mark.usefixtures("waits")
def test_a_conversation_that_was_deleted_meanwhile_is_not_saved(model: Path, places: Paths) -> None:
    client = open_model(model)
    ask(client, turn())
    ask(client, replace(turn("other" + PROMPT), conversation="d"))
    forget(places.snapshots, ["c"])
    stop(places)
    heads = [load_head(entry.path) for entry in saved(places)]
    assert [head.owner for head in heads if head] == [owner_of("d")]


def test_it_is_saved_when_the_engine_has_nothing_to_do(
    model: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_engines(monkeypatch, SOON)
    client = open_model(model)
    ask(client, turn())
    first = wait_until(lambda: [e for e in saved(places) if e.path.suffix == ".snapshot"])
    os.kill(client.info.pid, signal.SIGKILL)
    wait_until(lambda: has_ended(client.info.pid))
    client = open_model(model)
    assert cached_tokens(client, turn(PROMPT + " hello")) == TOKENS
    # The longer state takes the place of the shorter one.
    wait_until(lambda: saved(places) != first and len(saved(places)) == 1)
    assert held(saved(places)[0]) > TOKENS


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("how", ["terminated", "stopped"])
def test_what_was_computed_of_an_unfinished_reply_is_saved(
    model: Path, places: Paths, how: str
) -> None:
    client = open_model(model)
    client.submit(turn(max_tokens=None))
    next(event for event in client.events() if isinstance(event, TextDelta))
    start = time.monotonic()
    if how == "stopped":
        stop(places)
    else:
        os.kill(client.info.pid, signal.SIGTERM)
        wait_until(lambda: has_ended(client.info.pid))
    assert time.monotonic() - start < 5
    with pytest.raises(EngineDied, match=how):
        list(client.events())
    (entry,) = saved(places)
    assert held(entry) > TOKENS
    assert cached_tokens(open_model(model), turn(PROMPT + " hello")) == TOKENS


@pytest.mark.usefixtures("waits")
def test_a_prefill_is_interrupted_and_its_done_part_saved(model: Path, places: Paths) -> None:
    client = open_model(model)
    client.submit(turn(PROMPT * 18))
    next(client.events())  # the first step is done, more than ten are to come
    stop(places)
    (entry,) = saved(places)
    assert 256 <= held(entry) < 18 * TOKENS


class StuckEngine:
    """In a step that ends only when it is interrupted."""

    has_work = True

    def __init__(self) -> None:
        self.steps = threading.Event()
        self.interrupted = threading.Event()
        self.closed = False

    def step(self) -> list[object]:
        self.steps.set()
        self.interrupted.wait()
        return []

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self, _: float) -> None:
        self.closed = True


def test_a_step_in_flight_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = StuckEngine()
    monkeypatch.setattr(worker, "load", lambda *_: LoadedEngine(engine, True, 0.0))
    stuck = Worker(ModelRef("", ""), LoadOptions(), Path(), lambda _: None, lambda: None)
    stuck.start()
    assert engine.steps.wait(10)
    stuck.leave(2.0)
    assert engine.closed


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize(
    "request_",
    [
        replace(turn(), conversation=None),
        replace(turn(), reuse_cache=False),
        turn(PROMPT[: len(PROMPT) // 2]),
    ],
    ids=["no conversation", "no reuse", "too short"],
)
def test_what_nobody_comes_back_to_is_not_saved(
    model: Path, places: Paths, request_: GenerationRequest
) -> None:
    ask(open_model(model), request_)
    stop(places)
    assert not saved(places)


@pytest.mark.usefixtures("waits")
def test_a_budget_of_0_saves_nothing(model: Path, places: Paths) -> None:
    ask(open_model(model, snapshot_budget=0), turn())
    stop(places)
    assert not saved(places)


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_a_damaged_snapshot_is_removed_and_changes_no_word(
    model: Path, places: Paths, place: float
) -> None:
    answer, _ = ask(open_model(model), turn())
    stop(places)
    (entry,) = saved(places)
    content = bytearray(entry.path.read_bytes())
    content[int(place * len(content))] ^= 1
    entry.path.write_bytes(content)

    again, end = ask(open_model(model), turn())
    assert again == answer
    assert end.usage.cached_tokens == 0
    assert not saved(places)


def test_killed_while_writing_it_leaves_nothing_that_is_found(
    model: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = "import os, signal; os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)"
    with monkeypatch.context() as patch:
        patch_engines(patch, f"{SOON}; {killed}")
        client = open_model(model)
        answer, _ = ask(client, turn())
        wait_until(lambda: has_ended(client.info.pid))
    assert [entry.path.suffix for entry in saved(places)] == [".writing"]

    patch_engines(monkeypatch, NEVER)
    again, end = ask(open_model(model), turn())
    assert (again, end.usage.cached_tokens) == (answer, 0)
    stop(places)
    assert [entry.path.suffix for entry in saved(places)] == [".snapshot"]


def test_a_disk_that_hangs_does_not_keep_the_engine(
    model: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = "import os, time; os.fsync = lambda _: time.sleep(60); worker._WRITING = 0.2"
    patch_engines(monkeypatch, f"{SOON}; {hangs}")
    ask(open_model(model), turn())
    wait_until(lambda: saved(places))
    stop(places)


def test_clients_that_do_not_read_do_not_keep_the_engine(model: Path, places: Paths) -> None:
    """Each gets a moment to read the last frames, but all get the same one."""
    deaf = [open_model(model) for _ in range(12)]  # a second for each would be too long
    for client in deaf:
        for _ in range(3000):
            client.send({"op": "status"})
    stop(places)
