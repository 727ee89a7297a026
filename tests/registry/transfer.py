"""How a body of `hub.Hub` goes over its connection: paced, parted, damaged, cut or reset."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING

from tests.registry.faults import BEYOND, Fault, Kind
from tests.registry.traffic import Body

if TYPE_CHECKING:
    from .hub import Hub

_STEP = 64 << 10
_PAUSE = 0.02  # seconds between two pieces of a slow body
_DRAIN = 10.0  # seconds that a reset waits for a client that doesn't read


class Transfer:
    """Sends bodies over one connection."""

    def __init__(self, connection: socket.socket, hub: Hub) -> None:
        self._connection = connection
        self._hub = hub

    def send(self, content: memoryview, fault: Fault, body: Body) -> None:
        """Sends a body with its fault; the connection's end is the caller's."""
        match fault.kind:
            case Kind.CORRUPT if content:
                damaged = bytearray(content)
                damaged[min(fault.at, len(damaged) - 1)] ^= 0x10
                self._send(memoryview(damaged), body)
            case Kind.CHUNKED:
                self._send_chunks(content[: fault.at], body)
            case Kind.STALL:
                self._send(content[: fault.at], body)
                self._hub.stall(fault.seconds)
                self._send(content[fault.at :], body)
            case Kind.ENDLESS:
                self._send(content, body)
                zeros = memoryview(bytes(_STEP))
                for _ in range(BEYOND // _STEP):
                    self._send(zeros, body)
            case Kind.FIN | Kind.RST | Kind.CLOSED:
                self._send(content[: fault.at], body)
            case _:
                self._send(content, body)

    def prepare_reset(self) -> None:
        """When the client's side has all that was sent, makes closing the connection reset it."""
        deadline = time.monotonic() + _DRAIN
        while self._unsent() and time.monotonic() < deadline:
            if self._hub.closed.wait(0.001):
                break
        no_linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)

    def _send_chunks(self, content: memoryview, body: Body) -> None:
        while content:
            piece, content = content[:_STEP], content[_STEP:]
            self._connection.sendall(b"%x\r\n" % len(piece))
            self._send(piece, body)
            self._connection.sendall(b"\r\n")
        self._connection.sendall(b"0\r\n\r\n")

    def _send(self, content: memoryview, body: Body) -> None:
        """Sends it all, no faster than the hub's rate."""
        while content:
            rate = self._hub.rate
            step = _STEP if rate is None else min(_STEP, max(1, int(rate * _PAUSE)))
            piece = content[:step]
            # Counted first, and taken back: a client never has what isn't counted.
            body.sent += len(piece)
            sent = 0
            try:
                sent = self._connection.send(piece)
            finally:
                body.sent -= len(piece) - sent
            content = content[sent:]
            if rate is not None and self._hub.closed.wait(sent / rate):
                raise ConnectionAbortedError("the hub closes")

    def _unsent(self) -> int:
        """Bytes that the other side hasn't acknowledged."""
        answer = fcntl.ioctl(self._connection, termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])
