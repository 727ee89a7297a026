"""Where an engine is reached: a Unix socket only its owner can open.

Where the system has none, loopback TCP stands in; a random token in a 0600 file then proves that
the client may read the user's files.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from localchat.host.protocol import encode
from localchat.paths import make_private

_HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX")
_BACKLOG = 128


class Endpoint:
    """The address of one engine: a file in the runtime folder, named after the engine's key."""

    def __init__(self, runtime: Path, key: str) -> None:
        self.key = key
        self.path = runtime / (f"{key}.sock" if _HAS_UNIX_SOCKETS else f"{key}.tcp")

    @classmethod
    def all(cls, runtime: Path) -> Iterator[Endpoint]:
        """Endpoints that have a file, whether or not an engine still answers there."""
        if runtime.is_dir():
            for path in sorted(runtime.glob("*.sock" if _HAS_UNIX_SOCKETS else "*.tcp")):
                yield cls(runtime, path.stem)

    def listen(self) -> tuple[socket.socket, str | None]:
        """A listening socket, and the token every connection must begin with, if any.

        The file appears, in one step, only when connecting works: whoever finds that nobody
        listens behind a file may remove it.
        """
        make_private(self.path.parent)
        temporary = self.path.with_name(f"{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        if _HAS_UNIX_SOCKETS:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(temporary))
            listener.listen(_BACKLOG)
            token = None
        else:
            listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
            token = os.urandom(32).hex()
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps({"port": listener.getsockname()[1], "token": token}))
        temporary.chmod(0o600)
        temporary.replace(self.path)
        return listener, token

    def connect(self) -> socket.socket | None:
        """A connection, or None if no engine answers there.

        Raises PermissionError if somebody else's process answers.
        """
        try:
            if not _HAS_UNIX_SOCKETS:
                return self._connect_loopback()
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.path))
            except BaseException:
                connection.close()
                raise
        except (FileNotFoundError, ConnectionError, ValueError, KeyError):
            return None
        if not is_same_user(connection):
            connection.close()
            raise PermissionError(f"{self.path} is served by another user")
        return connection

    def _connect_loopback(self) -> socket.socket:
        found = json.loads(self.path.read_text())
        connection = socket.create_connection(("127.0.0.1", found["port"]))
        connection.sendall(encode({"op": "token", "token": found["token"]}))
        return connection

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def is_same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user, where the system can tell."""
    if hasattr(socket, "SO_PEERCRED"):
        return _credentials(connection)[1] == os.getuid()
    if hasattr(socket, "LOCAL_PEERCRED"):  # BSD and macOS: struct xucred, version then uid
        credentials = connection.getsockopt(0, socket.LOCAL_PEERCRED, 8)
        return bool(struct.unpack("2I", credentials)[1] == os.getuid())
    return True


def peer_process(connection: socket.socket) -> int | None:
    """The process at the other end, where the system can tell."""
    has_it = hasattr(socket, "SO_PEERCRED") and connection.family == socket.AF_UNIX
    return _credentials(connection)[0] if has_it else None


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the other end (Linux: struct ucred)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    process, user, group = struct.unpack("3i", credentials)
    return process, user, group
