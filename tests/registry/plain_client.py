"""A client for the tests of the fake hub: it neither follows redirects nor asks again."""

from __future__ import annotations

import http.client
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

CONTENT = random.Random(4).randbytes(1_000_003)
SIZE = len(CONTENT)
DIGEST = sha256(CONTENT).hexdigest()
ETAG = f'"{DIGEST}"'
REPO = "owner/model-GGUF"
NAME = "model.Q4_K_M.gguf"


@dataclass
class Answer:
    """What came back: all of the body that came, and how it ended."""

    status: int
    headers: dict[str, str]
    content: bytes = b""
    error: Exception | None = None


@contextmanager
def connection(url: str, timeout: float = 10.0) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        yield client
    finally:
        client.close()


def ask(url: str, method: str = "GET", timeout: float = 10.0, **headers: str) -> Answer:
    """Asks once. `If_Range` and the like are headers."""
    with connection(url, timeout) as client:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request(
            method, url.removeprefix(f"http://{client.host}:{client.port}"), headers=fields
        )
        response = client.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()})
        came = bytearray()
        try:
            while piece := response.read1(65536):
                came += piece
        except (OSError, http.client.HTTPException) as error:
            answer.error = error
        finally:
            response.close()
        answer.content = bytes(came)
        return answer


def receive(client: socket.socket, into: bytearray) -> None:
    """All that comes until the other side ends it."""
    while piece := client.recv(65536):
        into += piece
