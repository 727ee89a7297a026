"""One connected socket: bytes in, frames out, and what is still unsent."""

from __future__ import annotations

import socket

from localchat.host.protocol import Frame, FrameReader, encode

# Bytes kept for a client that does not read, before it is let go.
_MOST_UNSENT = 64 * 2**20
_CHUNK = 2**18


class Connection:
    """`is_trusted`: whether frames may be acted on, or the token must come first."""

    def __init__(self, sock: socket.socket, *, is_trusted: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.is_trusted = is_trusted
        self.is_open = True
        self.is_client = False
        """Whether hello was said: only clients keep an engine alive."""
        self._reader = FrameReader()
        self._unsent = bytearray()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> list[Frame]:
        """Frames that have come; a connection closed by the other end is no longer open."""
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return []
        return self._reader.feed(data)

    def send(self, frame: Frame) -> None:
        """Queues a frame; `flush` sends it."""
        self._unsent += encode(frame)
        if len(self._unsent) > _MOST_UNSENT:
            self._unsent.clear()
            self.is_open = False

    def flush(self) -> None:
        if not self._unsent or not self.is_open:
            return
        try:
            sent = self.sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.is_open = False
            return
        del self._unsent[:sent]

    def flush_and_close(self, seconds: float) -> None:
        """Sends the rest, waiting at most `seconds` for a slow reader, and closes."""
        try:
            self.sock.settimeout(seconds)
            if self.is_open:
                self.sock.sendall(self._unsent)
        except OSError:
            pass  # the other end has gone; there is nobody left to tell
        finally:
            self.sock.close()
