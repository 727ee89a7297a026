"""The threads and sockets of `hub.Hub`."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.registry.hub_wire import Handler

if TYPE_CHECKING:
    from .hub import Hub


class Server(ThreadingHTTPServer):
    """One origin of a hub, on a port of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, *, is_cdn: bool = False) -> None:
        self.hub = hub
        self.is_cdn = is_cdn
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cuts all connections, and waits for their threads."""
        with suppress(OSError):  # wakes the thread at once, where the system does that
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection, thread in list(self._connections.items()):
            with suppress(OSError):  # it may have ended
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)
            assert not thread.is_alive(), "a thread of the hub doesn't end"

    def server_bind(self) -> None:
        # Past the parent's, which asks for the host's name: that may take a network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._connections.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that leaves is no failure of the hub.
        if error and not isinstance(error, ConnectionError) and not self.hub.closed.is_set():
            self.hub.failures.append(error)
