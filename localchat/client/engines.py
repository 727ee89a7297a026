"""The engines that run now: what they are doing, and how to end them."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from localchat.client.socket_client import SocketClient
from localchat.errors import LocalchatError
from localchat.host.endpoint import Endpoint
from localchat.paths import Paths

EngineStatus = dict[str, Any]  # the "status" frame of localchat.host.protocol, without its op

_PATIENCE = 5.0  # seconds an engine gets to answer, and to leave
_HANGING: EngineStatus = {
    "version": None,
    "model": "?",
    "path": None,
    "draft": None,
    "state": "hangs",
    "context": 0,
    "clients": 0,
    "requests": 0,
    "uptime": None,
    "expires": None,
    "peak_memory": 0,
}


@dataclass(frozen=True, slots=True)
class RunningEngine:
    endpoint: Endpoint
    status: EngineStatus

    def serves(self, model: str) -> bool:
        """Whether `model` names it: its model's name, or the path of its file."""
        return model == str(self.status["model"]) or os.path.realpath(model) == str(
            self.status["path"]
        )

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss it: no client is connected, so no request runs."""
        return self.status["state"] == "idle" and not self.status["clients"]

    def retire(self) -> bool:
        """Asks the engine to leave, and waits for that; False if a client came first.

        That client is served to its end.
        """
        client = _connect(self.endpoint)
        if client is not None:
            with closing(client):
                client.send({"op": "stop", "drain": True})
                _wait_for_end(client)
        return _wait_until_gone(self.status["pid"])

    def stop(self) -> None:
        """Ends the engine and returns when it is gone; one that does not answer is killed."""
        client = _connect(self.endpoint)
        if client is not None:
            with closing(client):
                client.send({"op": "stop", "drain": False})
                _wait_for_end(client)
        if not _wait_until_gone(self.status["pid"]):
            os.kill(self.status["pid"], signal.SIGKILL)
            self.endpoint.remove()


def running(paths: Paths) -> list[RunningEngine]:
    """All engines of this user; files of engines that are gone are removed on the way."""
    found = []
    for endpoint in Endpoint.all(paths.runtime):
        status = _status(endpoint)
        if status is not None:
            found.append(RunningEngine(endpoint, status))
        elif (connection := endpoint.connect()) is None:
            endpoint.remove()
        else:
            connection.close()  # a new engine took the place of one that just left
    return found


def _status(endpoint: Endpoint) -> EngineStatus | None:
    """What the engine says of itself; None if it is gone. One that hangs is described for it."""
    client = _connect(endpoint)
    if client is None:
        return None
    with closing(client):
        try:
            client.send({"op": "status"})
            status = client.receive("status")
        except LocalchatError:
            return None
        except TimeoutError:
            return None if client.pid is None else _HANGING | {"pid": client.pid}
    del status["op"]
    return status


def _connect(endpoint: Endpoint) -> SocketClient | None:
    connection = endpoint.connect()
    if connection is None:
        return None
    connection.settimeout(_PATIENCE)
    return SocketClient(connection)


def _wait_for_end(client: SocketClient) -> None:
    with suppress(LocalchatError, TimeoutError):
        while True:
            client.receive("bye")


def _wait_until_gone(pid: int) -> bool:
    """Whether the process ends in time."""
    deadline = time.monotonic() + _PATIENCE
    try:
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(pid)
            try:
                return bool(select.select([handle], [], [], _PATIENCE)[0])
            finally:
                os.close(handle)
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        return True
    return False
