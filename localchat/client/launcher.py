"""Finds the engine of a model, or starts it. However many start at once, one engine comes of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from localchat.client.socket_client import OtherVersion, SocketClient
from localchat.errors import EngineDied, LocalchatError, OutOfSpace
from localchat.host.endpoint import Endpoint
from localchat.paths import Paths, make_private
from localchat.types import LoadOptions, ModelRef

_LOG_FLAGS = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND
_ATTEMPTS = 5  # an engine may leave between connecting to it and its welcome


def open_engine(
    model: ModelRef,
    options: LoadOptions,
    keep_alive: float,
    paths: Paths,
    say: Callable[[str], None] | None = None,
) -> SocketClient:
    """A client of the engine for `model`, ready for requests.

    `keep_alive`: seconds the engine stays without clients; 0 leaves with the last, -1 never.
    Where memory is short, engines that nobody uses are asked to leave; `say` is told.
    Raises what loading the model raised, or EngineDied.
    """
    try:
        return _open(model, options, keep_alive, paths)
    except OutOfSpace:
        if not _make_room(paths, say):
            raise
        return _open(model, options, keep_alive, paths)


def _make_room(paths: Paths, say: Callable[[str], None] | None) -> bool:
    """Whether an engine has left."""
    # Imported here: a warm start does without.
    from localchat.client.engines import running

    idle = [engine for engine in running(paths) if engine.is_idle]
    if idle and say is not None:
        say(f"Making room: stopping {', '.join(str(engine.status['model']) for engine in idle)} …")
    left = [engine.retire() for engine in idle]  # all of them: how much is missing is not known
    return any(left)


def _open(model: ModelRef, options: LoadOptions, keep_alive: float, paths: Paths) -> SocketClient:
    make_private(paths.runtime)
    make_private(paths.logs)
    endpoint = Endpoint(paths.runtime, _key(model, options))
    log = _log(endpoint, paths)
    for attempt in range(_ATTEMPTS):
        connection = endpoint.connect() or _start(endpoint, model, options, keep_alive, paths)
        client = SocketClient(connection, log)
        try:
            if _greet(client, keep_alive, is_last=attempt == _ATTEMPTS - 1):
                client.wait_until_ready()
                return client
        except BaseException:
            client.close()
            raise
        client.close()
    raise LocalchatError(
        "An engine of another version keeps taking this model.", "localchat stop --all"
    )


def _greet(client: SocketClient, keep_alive: float, *, is_last: bool) -> bool:
    """False if the engine was leaving, or is of another version and leaves now: try again."""
    try:
        client.greet(keep_alive)
    except OtherVersion:
        client.retire_engine()
        return False
    except EngineDied:
        if is_last:
            raise
        return False
    return True


def _key(model: ModelRef, options: LoadOptions) -> str:
    """Names an engine: the same file and options find the same process."""
    found = Path(model.path).stat()
    file = [os.path.realpath(model.path), found.st_size, found.st_mtime_ns, found.st_ino]
    load = [file, model.chat_template, asdict(options)]
    return hashlib.sha256(json.dumps(load).encode()).hexdigest()[:16]


def _log(endpoint: Endpoint, paths: Paths) -> Path:
    return paths.logs / f"{endpoint.key}.log"


def _start(
    endpoint: Endpoint, model: ModelRef, options: LoadOptions, keep_alive: float, paths: Paths
) -> socket.socket:
    with _starting(endpoint):
        found = endpoint.connect()
        if found is not None:
            return found
        endpoint.remove()
        _spawn(endpoint, model, options, keep_alive, paths)
        found = endpoint.connect()
        if found is None:
            raise EngineDied(f"The engine did not start; its log is {_log(endpoint, paths)}.")
        return found


@contextmanager
def _starting(endpoint: Endpoint) -> Iterator[None]:
    """Only one process starts the engine at a time; the lock goes with the process."""
    lock = os.open(endpoint.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _spawn(
    endpoint: Endpoint, model: ModelRef, options: LoadOptions, keep_alive: float, paths: Paths
) -> None:
    """Starts an engine process in a session of its own and returns once it listens."""
    ready, writer = os.pipe()
    # Inheritable, and beyond the streams that are replaced below: ours may be closed.
    ready_writer = fcntl.fcntl(writer, fcntl.F_DUPFD, 3)
    os.close(writer)
    spec = {
        "runtime": str(endpoint.path.parent),
        "key": endpoint.key,
        "model": asdict(model),
        "options": asdict(options),
        "keep_alive": keep_alive,
        "snapshots": str(paths.snapshots),
        "speeds": str(paths.speeds),
        "ready_fd": ready_writer,
    }
    try:
        # Not subprocess: importing it takes 10 ms of a cold start, and its objects want a parent.
        os.posix_spawn(
            sys.executable,
            # -P: a file in the current folder must not be imported in a module's place.
            [sys.executable, "-P", "-m", "localchat.host", json.dumps(spec)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(_log(endpoint, paths)), _LOG_FLAGS, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(ready_writer)
    try:
        os.read(ready, 1)  # or end of file, if it could not start
    finally:
        os.close(ready)
