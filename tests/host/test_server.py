"""A real engine process with a tiny model, spoken to in raw frames."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from localchat import __version__
from localchat.client.engines import running
from localchat.client.socket_client import SocketClient
from localchat.errors import EngineDied, EngineFailed
from localchat.host import endpoint
from localchat.host.endpoint import Endpoint
from localchat.host.protocol import encode, request_frame
from localchat.paths import Paths
from tests.client import (
    ENDLESS,
    has_ended,
    open_endless,
    open_model,
    patch_engines,
    reply,
    request,
    start_replying,
)
from tests.conftest import wait_until

Tiny = Callable[..., Path]


@pytest.fixture
def client(tiny: Tiny) -> Iterator[SocketClient]:
    client = open_endless(tiny(**ENDLESS))
    yield client
    client.close()


@pytest.fixture
def dial(client: SocketClient, places: Paths) -> Iterator[Callable[[], SocketClient]]:
    """Opens raw connections to the engine of `client`."""
    opened = []

    def connect() -> SocketClient:
        (here,) = Endpoint.all(places.runtime)
        connection = here.connect()
        assert connection is not None
        connection.settimeout(10)
        opened.append(SocketClient(connection))
        return opened[-1]

    yield connect
    for raw in opened:
        raw.close()


def status(places: Paths) -> dict[str, Any]:
    (engine,) = running(places)
    return engine.status


def last_word(raw: SocketClient) -> dict[str, Any]:
    """The last frame before the engine hangs up."""
    *_, last = iter(lambda: suppressed(raw), None)
    return last


def suppressed(raw: SocketClient) -> dict[str, Any] | None:
    with suppress(EngineDied):
        return raw._next_frame()
    return None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\n",
        b"[1]\n",
        encode({"op": "make coffee"}),
        encode(request_frame(request())),  # before hello
        encode({"op": "cancel", "id": "1"}),
        encode({"op": "hello"}) + encode({"op": "submit"}),
        encode({"op": "hello"}) + encode({"op": "submit", "request": {"id": 1}}),
        encode({"op": "token", "token": "1"}),
    ],
)
def test_nonsense_ends_its_connection_and_no_other(
    client: SocketClient, dial: Callable[[], SocketClient], data: bytes
) -> None:
    raw = dial()
    raw._send_bytes(data)
    assert last_word(raw)["kind"] == "EngineFailed"
    assert reply(client, max_tokens=4)


def test_values_of_the_wrong_type_end_their_connection_and_no_other(
    client: SocketClient, dial: Callable[[], SocketClient]
) -> None:
    for name, value in [("prompt", 5), ("messages", [{"role": "user", "content": 5}]), ("id", [])]:
        raw = dial()
        raw.greet(60)
        raw.receive("ready")
        frame = json.loads(json.dumps(request_frame(request())))
        frame["request"] |= {"prompt": None} | {name: value}
        raw.send(frame)
        assert last_word(raw)["kind"] == "EngineFailed"
    assert reply(client, max_tokens=4)


def test_a_keep_alive_that_is_no_number_is_ignored(
    dial: Callable[[], SocketClient], client: SocketClient, places: Paths
) -> None:
    raw = dial()
    raw.send({"op": "hello", "keep_alive": "soon"})
    assert raw.receive("welcome")["version"] == __version__
    raw.close()
    client.close()
    assert wait_until(lambda: status(places)["expires"]) > 30


def test_status_is_answered_without_hello(client: SocketClient, places: Paths) -> None:
    assert status(places) | {"uptime": 0, "peak_memory": 0} == {
        "version": __version__,
        "pid": client.info.pid,
        "model": client.info.model,
        "path": client.info.model,
        "draft": None,
        "state": "idle",
        "context": ENDLESS["context_length"],
        "clients": 1,
        "requests": 0,
        "uptime": 0,
        "expires": None,
        "peak_memory": 0,
    }


def test_a_client_that_never_reads_holds_up_nobody(
    client: SocketClient, dial: Callable[[], SocketClient]
) -> None:
    deaf = dial()
    deaf.greet(60)
    deaf._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(2000):
        deaf.send({"op": "status"})
    deaf.send(request_frame(request()))
    assert len(reply(client, max_tokens=200)) > 100


def test_disconnecting_cancels(client: SocketClient, places: Paths, tiny: Tiny) -> None:
    other = open_endless(tiny(**ENDLESS))
    start_replying(other)
    assert status(places)["state"] == "busy"
    other.close()
    wait_until(lambda: status(places)["state"] == "idle", 1)
    # and the engine really has nothing left to do
    wait_until(lambda: cpu_ticks(client.info.pid) == cpu_ticks(client.info.pid, after=0.1), 2)


def cpu_ticks(pid: int, after: float = 0.0) -> int:
    signal.sigtimedwait([], after)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_cancel_ends_the_request_with_a_last_event(client: SocketClient) -> None:
    asked = request()
    client.submit(asked)
    events = client.events()
    next(events)
    client.cancel(asked.id)
    *_, last = events
    assert last.finish_reason == "cancelled"  # type: ignore[union-attr]
    assert reply(client, max_tokens=4)


def test_nobody_can_cancel_anothers_request(
    client: SocketClient, dial: Callable[[], SocketClient]
) -> None:
    raw = dial()
    raw.greet(60)
    asked = request(max_tokens=500)
    client.submit(asked)
    raw.cancel(asked.id)
    *_, last = client.events()
    assert last.finish_reason == "length"  # type: ignore[union-attr]


def test_a_request_id_is_used_once_at_a_time(
    client: SocketClient, dial: Callable[[], SocketClient]
) -> None:
    asked = request()
    client.submit(asked)
    raw = dial()
    raw.greet(60)
    raw.receive("ready")
    raw.submit(asked)
    with pytest.raises(EngineFailed, match="twice"):
        raw.receive("event")


def test_a_signal_makes_an_idle_engine_leave_at_once(tiny: Tiny) -> None:
    client = open_model(tiny())
    main_thread = Path(f"/proc/{client.info.pid}/task/{client.info.pid}/stat")
    wait_until(lambda: main_thread.read_text().rpartition(")")[2].split()[0] == "S")
    os.kill(client.info.pid, signal.SIGTERM)
    client._socket.settimeout(5)
    with pytest.raises(EngineDied, match="terminated"):
        client.receive("event")
    wait_until(lambda: has_ended(client.info.pid), 5)


def test_an_engine_whose_socket_was_removed_leaves(
    tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_engines(monkeypatch, "from localchat.host import server; server._HOUSEKEEPING = 0.05")
    client = open_model(tiny(), keep_alive=-1)
    (here,) = Endpoint.all(places.runtime)
    here.remove()
    assert reply(client, max_tokens=4)  # not while it has a client
    client.close()
    wait_until(lambda: has_ended(client.info.pid))


def test_a_new_engines_socket_is_not_removed_by_the_old_one(
    tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_engines(monkeypatch, "from localchat.host import server; server._HOUSEKEEPING = 0.05")
    old = open_model(tiny())
    (here,) = Endpoint.all(places.runtime)
    here.remove()
    new = open_model(tiny())
    assert new.info.pid != old.info.pid
    old.close()
    wait_until(lambda: has_ended(old.info.pid))
    assert status(places)["pid"] == new.info.pid
    new.close()


def test_an_engine_refuses_other_users(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_engines(
        monkeypatch,
        "import os; from localchat.host.server import Server; run = Server.run\n"
        "def elsewhere(self): os.getuid = lambda: 12345; run(self)\n"
        "Server.run = elsewhere",
    )
    with pytest.raises(EngineDied):
        open_model(tiny(), keep_alive=0)


def test_a_log_that_cannot_be_written_ends_nothing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_engines(monkeypatch, "import os; os.close(2); os.open('/dev/full', os.O_WRONLY)")
    client = open_model(tiny())
    client._socket.settimeout(10)
    assert reply(client, max_tokens=4)
    client.close()


class TestWithoutUnixSockets:
    @pytest.fixture(autouse=True)
    def _tcp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(endpoint, "_HAS_UNIX_SOCKETS", False)
        patch_engines(
            monkeypatch, "from localchat.host import endpoint; endpoint._HAS_UNIX_SOCKETS = False"
        )

    def test_it_works_the_same(self, tiny: Tiny, places: Paths) -> None:
        client = open_model(tiny())
        assert reply(client, max_tokens=4)
        (file,) = places.runtime.glob("*.tcp")
        assert file.stat().st_mode & 0o777 == 0o600
        again = open_model(tiny())
        assert again.info.pid == client.info.pid

    @pytest.mark.parametrize(
        "first",
        [
            {"op": "token", "token": "0" * 64},
            {"op": "token", "token": "\ud800"},
            {"op": "token"},
            {"op": "status"},
            {"op": "stop"},
        ],
    )
    def test_the_token_comes_first(self, tiny: Tiny, places: Paths, first: dict[str, Any]) -> None:
        client = open_model(tiny())
        (file,) = places.runtime.glob("*.tcp")
        port = json.loads(file.read_text())["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
            stranger.sendall(encode(first) + encode({"op": "status"}))
            answer = stranger.makefile("rb").read()
        assert b"does not have this engine's token" in answer
        assert b"status" not in answer
        assert reply(client, max_tokens=4)
