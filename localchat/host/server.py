"""Serves clients: one loop over sockets in the main thread, the engine in another.

Delivery never blocks the engine: what a client does not read is kept for it, up to a limit.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from hmac import compare_digest
from pathlib import Path
from typing import Any

from localchat import __version__
from localchat.engine.load import LoadedEngine
from localchat.engine.reports import Report, Summarised
from localchat.errors import EngineFailed, LocalchatError
from localchat.events import LAST_EVENTS, Event, Failed
from localchat.host.connection import Connection
from localchat.host.delivery import BATCH_INTERVAL, DELIVERY_INTERVAL, are_patient, merge_text
from localchat.host.endpoint import Endpoint, is_same_user
from localchat.host.protocol import Frame, event_frame, parse_request
from localchat.host.solo_runs import SoloRuns
from localchat.host.worker import Worker
from localchat.speeds import Recorder
from localchat.types import EngineInfo, LoadOptions, ModelRef

# Seconds a new engine waits for its first client: the one that started it may have been killed.
_FIRST_CLIENT = 30.0
# Seconds that clients get to read the last frames, all together.
_LAST_WORDS = 1.0
# Seconds to save conversations before the process ends; whoever stops engines waits 5 for all.
_FAREWELL = 3.5
# How often an engine that waits looks whether its socket is still there to be found.
_HOUSEKEEPING = 60.0


class Server:
    """One engine, its clients, and when to leave.

    `keep_alive` counts seconds without a client; below 0 the engine never leaves by itself.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: ModelRef,
        options: LoadOptions,
        keep_alive: float,
        snapshots: Path,
        speeds: Path,
        log: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._options = options
        self._keep_alive = keep_alive
        self._log = log
        self._listener, self._token = endpoint.listen()
        self._inode = endpoint.path.stat().st_ino
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._worker = Worker(model, options, snapshots, log, self._wake)
        self._loaded: LoadedEngine | None = None
        self._connections: set[Connection] = set()
        self._owners: dict[str, Connection] = {}
        self._solo_runs = SoloRuns(Recorder(speeds, model, options), log)
        self._started = time.monotonic()
        self._alone_since = self._started + max(0.0, _FIRST_CLIENT - max(0.0, keep_alive))
        self._draining = False
        self._leaving = False

    def run(self) -> None:
        """Serves until it is time to leave; the endpoint's file is then gone."""
        for sock in (self._listener, self._wake_receiver, self._wake_sender):
            sock.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, self._drain_wakeups)
        self._worker.start()
        while not self._leaving:
            for key, mask in self._selector.select(self._patience()):
                key.data(mask)
            self._collect()
            self._solo_runs.save()  # of a request beside which nothing ran: nothing does now
            self._housekeep()
        self._close_listener()
        deadline = time.monotonic() + _LAST_WORDS
        for connection in self._connections:
            connection.flush_and_close(max(0.0, deadline - time.monotonic()))
        self._solo_runs.save()
        self._worker.leave(_FAREWELL)

    def leave(self, reason: str) -> None:
        """Ends the engine now; whoever waits is told why."""
        self._log(f"leaving: {reason}")
        for connection in self._connections:
            connection.send({"op": "bye", "reason": reason})
        self._leaving = True
        self._wake()  # a signal handler's return does not end the loop's wait

    # -- the sockets

    def _accept(self, _: int) -> None:
        try:
            sock, _address = self._listener.accept()
        except OSError:  # it went away, or the listener was closed by an event of this round
            return
        if sock.family == getattr(socket, "AF_UNIX", None) and not is_same_user(sock):
            self._log("refused a connection of another user")
            sock.close()
            return
        connection = Connection(sock, is_trusted=self._token is None)
        self._connections.add(connection)
        self._selector.register(
            sock, selectors.EVENT_READ, lambda mask: self._serve(connection, mask)
        )

    def _serve(self, connection: Connection, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                for frame in connection.receive():
                    self._handle(connection, frame)
            if mask & selectors.EVENT_WRITE:
                connection.flush()
        except LocalchatError as error:
            self._refuse(connection, error)
        except Exception as error:
            # A fault of ours over one client's frame; the others must not suffer for it.
            self._log(traceback.format_exc())
            self._refuse(
                connection, EngineFailed(f"The engine failed: {type(error).__name__}: {error}.")
            )
        self._update(connection)

    def _refuse(self, connection: Connection, error: LocalchatError) -> None:
        connection.send(_failed_frame(error))
        connection.flush()
        connection.is_open = False

    def _update(self, connection: Connection) -> None:
        """Watches for what the connection needs next, or lets go of a closed one."""
        if connection not in self._connections:
            return
        if connection.is_open:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.has_unsent else 0)
            if self._selector.get_key(connection.sock).events != wanted:
                key = self._selector.get_key(connection.sock)
                self._selector.modify(connection.sock, wanted, key.data)
            return
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._connections.remove(connection)
        for request_id in [i for i, owner in self._owners.items() if owner is connection]:
            self._disown(request_id)
            self._cancel(request_id)
        if connection.is_client:
            self._alone_since = time.monotonic()

    # -- what clients ask

    def _handle(self, connection: Connection, frame: Frame) -> None:
        op = frame["op"]
        if not connection.is_trusted:
            connection.is_trusted = op == "token" and compare_digest(
                str(frame.get("token")).encode("utf-8", "replace"), str(self._token).encode()
            )
            if not connection.is_trusted:
                raise EngineFailed("The connection does not have this engine's token.")
        elif op == "hello":
            self._greet(connection, frame)
        elif op == "status":
            connection.send(self._status())
        elif op == "stop":
            self._stop(connection, drain=bool(frame.get("drain")))
        elif op == "submit" and connection.is_client:
            self._submit(connection, frame.get("request"))
        elif op == "cancel" and connection.is_client:
            if self._owners.get(str(frame.get("id"))) is connection:
                self._cancel(str(frame["id"]))
        else:
            raise EngineFailed(f"The engine can't be asked for {op!r} now.")

    def _greet(self, connection: Connection, frame: Frame) -> None:
        connection.is_client = True
        if isinstance(frame.get("keep_alive"), int | float):
            self._keep_alive = float(frame["keep_alive"])
        connection.send({"op": "welcome", "version": __version__, "pid": os.getpid()})
        if self._loaded is not None:
            connection.send(self._ready(self._loaded))

    def _submit(self, connection: Connection, fields: Any) -> None:
        request = parse_request(fields)
        if self._loaded is None or request.id in self._owners:
            raise EngineFailed("A request came too early, or twice.")
        try:
            rendered = self._loaded.engine.submit(request)
        except LocalchatError as error:
            kind = type(error).__name__
            connection.send(event_frame(Failed(request.id, kind, str(error), error.hint)))
            return
        if rendered is not None:
            connection.send(event_frame(rendered))
            return
        self._solo_runs.arrived(request, others=bool(self._owners))
        self._owners[request.id] = connection
        if request.priority == "batch":
            self._worker.batch.add(request.id)
        self._worker.notify()

    def _cancel(self, request_id: str) -> None:
        if self._loaded is not None:
            self._loaded.engine.cancel(request_id)
            self._worker.notify()

    def _stop(self, connection: Connection, *, drain: bool) -> None:
        self._close_listener()
        connection.send({"op": "bye", "reason": "asked to"})
        connection.flush()
        self._draining = True
        if not drain:
            self.leave("stopped")

    def _status(self) -> Frame:
        expires = self._alone_since + self._keep_alive - time.monotonic()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "op": "status",
            "version": __version__,
            "pid": os.getpid(),
            "model": self._model.name,
            "path": self._model.path,
            "draft": self._options.draft,
            "state": "loading" if self._loaded is None else "busy" if self._owners else "idle",
            "context": self._loaded.engine.context if self._loaded else self._options.context,
            "clients": sum(connection.is_client for connection in self._connections),
            "requests": len(self._owners),
            "uptime": time.monotonic() - self._started,
            "expires": max(0.0, expires)
            if not self._has_clients and self._keep_alive >= 0
            else None,
            "peak_memory": peak if sys.platform == "darwin" else peak * 1024,
        }

    # -- what the engine reports

    def _wake(self) -> None:
        # When it is full of earlier wake-ups, the listener has one to find.
        with contextlib.suppress(BlockingIOError):
            self._wake_sender.send(b"\0")

    def _drain_wakeups(self, _: int) -> None:
        self._wake_receiver.recv(4096)

    def _collect(self) -> None:
        """Acts on what the worker has reported since the last look.

        While reports come, the loop looks again by itself; after a look in vain it wants to be
        woken. So a fast model's text comes in a few steady pieces, and a slow one's at once.
        """
        reports = self._worker.reports
        self._worker.is_watched = False  # before the look: what comes after it wakes us
        events: list[Event] = []
        while reports:
            report = reports.popleft()
            if isinstance(report, LocalchatError):
                self._give_up(report)
            elif isinstance(report, LoadedEngine):
                self._loaded = report
                self._log(f"ready after {report.load_seconds:.2f} s")
                for connection in self._connections:
                    if connection.is_client:
                        connection.send(self._ready(report))
            else:
                self._worker.is_watched |= not are_patient(report, self._worker.batch)
                events += self._resume(report)
        for event in merge_text(events):
            self._deliver(event)
        for connection in [c for c in self._connections if c.has_unsent or not c.is_open]:
            connection.flush()
            self._update(connection)

    def _resume(self, reports: list[Report]) -> list[Event]:
        """The events among the engine's reports; where it needs the main thread it goes on."""
        events: list[Event] = []
        for report in reports:
            if not isinstance(report, Summarised):
                events.append(report)
            elif self._loaded is not None:
                failed = self._loaded.engine.resume(report)
                events += [failed] if failed else []
                self._worker.notify()
        return events

    def _deliver(self, event: Event) -> None:
        owner = self._owners.get(event.request_id)
        if owner is None:
            return  # its client has gone
        if isinstance(event, LAST_EVENTS):
            self._disown(event.request_id)
            self._solo_runs.ended(event)
        owner.send(event_frame(event))

    def _disown(self, request_id: str) -> None:
        del self._owners[request_id]
        self._worker.batch.discard(request_id)

    def _give_up(self, error: LocalchatError) -> None:
        self._close_listener()
        for connection in self._connections:
            connection.send(_failed_frame(error))
        self.leave(str(error))

    def _ready(self, loaded: LoadedEngine) -> Frame:
        info = EngineInfo(
            version=__version__,
            pid=os.getpid(),
            model=self._model.name,
            context=loaded.engine.context,
            has_chat_template=loaded.has_chat_template,
            load_seconds=loaded.load_seconds,
            build=loaded.build,
            template_sha256=loaded.template_sha256,
        )
        return {"op": "ready", "info": asdict(info)}

    # -- when to leave

    @property
    def _has_clients(self) -> bool:
        return any(connection.is_client for connection in self._connections)

    def _patience(self) -> float:
        """Seconds until the loop must look again: at the worker's reports, or at the clock."""
        if self._worker.is_watched:
            return DELIVERY_INTERVAL
        if self._worker.batch:
            return BATCH_INTERVAL
        if self._has_clients or self._keep_alive < 0:
            return _HOUSEKEEPING
        left = self._alone_since + self._keep_alive - time.monotonic()
        return min(max(0.0, left), _HOUSEKEEPING)

    def _housekeep(self) -> None:
        if self._leaving or self._has_clients:
            return
        if self._draining:
            self.leave("replaced, and the last client has left")
        elif 0 <= self._keep_alive <= time.monotonic() - self._alone_since:
            self.leave("idle")
        elif not self._is_found():
            self.leave("its socket was removed, so nobody can reach it")

    def _is_found(self) -> bool:
        try:
            return self._endpoint.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _close_listener(self) -> None:
        """Nobody new comes in, and the file is gone: another engine may take the address."""
        if self._listener.fileno() < 0:
            return
        if self._is_found():
            self._endpoint.remove()
        self._selector.unregister(self._listener)
        self._listener.close()


def _failed_frame(error: LocalchatError) -> Frame:
    return {
        "op": "failed",
        "kind": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
    }
