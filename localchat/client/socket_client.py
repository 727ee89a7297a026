"""The client of an engine process, over its socket."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from localchat import __version__
from localchat.errors import EngineDied, EngineFailed, InputError, LocalchatError, from_kind
from localchat.events import LAST_EVENTS, Event
from localchat.host.endpoint import peer_process
from localchat.host.protocol import (
    MAX_FRAME,
    Frame,
    FrameReader,
    encode,
    parse_event,
    request_frame,
)
from localchat.sanitize import clean
from localchat.types import EngineInfo, GenerationRequest

_CHUNK = 2**16
_LOG_TAIL = 4096  # bytes of the log to look at for a reason


class OtherVersion(Exception):
    """The engine was started by another version of localchat."""


class SocketClient:
    """See `localchat.client.base.EngineClient`. `log`, the engine's log file, explains its end."""

    def __init__(self, connection: socket.socket, log: Path | None = None) -> None:
        self._socket = connection
        self._log = log
        self._reader = FrameReader()
        self._frames: deque[Frame] = deque()
        self._running: set[str] = set()
        self._sending = threading.Lock()
        self._info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "wait_until_ready comes first"
        return self._info

    @property
    def pid(self) -> int | None:
        """The engine's process, as the system knows it; None where it can't tell."""
        return peer_process(self._socket)

    @property
    def is_gone(self) -> bool:
        # Between requests an engine says nothing but that it leaves.
        return bool(self._frames) or bool(select.select([self._socket], [], [], 0)[0])

    def greet(self, keep_alive: float) -> None:
        """Raises OtherVersion, or EngineDied if the engine was just leaving."""
        self.send({"op": "hello", "version": __version__, "keep_alive": keep_alive})
        if self.receive("welcome").get("version") != __version__:
            raise OtherVersion

    def retire_engine(self) -> None:
        """Returns once the engine takes no new clients; it leaves when the last one has left."""
        self.send({"op": "stop", "drain": True})
        with contextlib.suppress(LocalchatError):  # gone already, or failed: just as well
            while self._next_frame()["op"] != "bye":
                pass  # "ready" may come before it

    def wait_until_ready(self) -> None:
        """Returns once the model is loaded. Raises what loading raised, or EngineDied."""
        try:
            self._info = EngineInfo(**self.receive("ready")["info"])
        except (TypeError, KeyError) as error:
            raise EngineFailed(f"The engine sent a message that can't be read: {error}.") from error

    def submit(self, request: GenerationRequest) -> None:
        frame = encode(request_frame(request))
        if len(frame) > MAX_FRAME:
            raise InputError(
                f"The prompt takes {len(frame):,} bytes; an engine accepts {MAX_FRAME:,}.",
                "Shorten it.",
            )
        self._running.add(request.id)
        self._send_bytes(frame)

    def cancel(self, request_id: str) -> None:
        self.send({"op": "cancel", "id": request_id})

    def events(self) -> Iterator[Event]:
        while self._running:
            event = parse_event(self.receive("event"))
            if isinstance(event, LAST_EVENTS):
                self._running.discard(event.request_id)
            yield event

    def close(self) -> None:
        self._socket.close()

    def send(self, frame: Frame) -> None:
        self._send_bytes(encode(frame))

    def receive(self, op: str) -> Frame:
        """The next frame, which must be `op`."""
        frame = self._next_frame()
        if frame["op"] == "failed":
            raise from_kind(
                str(frame.get("kind")), clean(str(frame.get("message"))), frame.get("hint")
            )
        if frame["op"] == "bye" and op != "bye":
            raise EngineDied(f"The engine left: {clean(str(frame.get('reason')))}.", _AGAIN)
        if frame["op"] != op:
            raise EngineFailed(f"The engine sent {frame['op']!r} where {op!r} was due.")
        return frame

    def _next_frame(self) -> Frame:
        while not self._frames:
            try:
                data = self._socket.recv(_CHUNK)
            except ConnectionError:
                data = b""
            if not data:
                raise self._death("ended without a word")
            self._frames += self._reader.feed(data)
        return self._frames.popleft()

    def _send_bytes(self, data: bytes) -> None:
        # If the engine has gone: what it said before is still to be read, and says more.
        with contextlib.suppress(ConnectionError), self._sending:
            self._socket.sendall(data)

    def _death(self, how: str) -> EngineDied:
        lines = _last_lines(self._log) if self._log else ""
        reason = f" Its log ends with:\n{lines}" if lines else ""
        return EngineDied(f"The engine {how}.{reason}", _AGAIN)


_AGAIN = "Run the command again: it starts a new engine."


def _last_lines(log: Path, count: int = 3) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join([f"  {clean(line)}" for line in lines if line.strip()][-count:])
