"""Receives a file by HTTP, byte range by byte range, until it is all there.

What the server says is believed where being wrong costs a retry only; which bytes are right is
`download`'s to decide. Addresses are https, or http to this machine; credentials stay with the
origin they are for.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx2

from localchat import __version__
from localchat.errors import LocalchatError, NetworkNeeded
from localchat.sanitize import clean

IDLE = 30.0
"""Seconds without a byte after which a connection is given up, and made anew."""

ATTEMPTS = 6
"""Tries in a row that bring nothing new before a source counts as out of reach."""

PAUSE = 0.5
"""Seconds before the second try; doubled each time, up to `_LONGEST_PAUSE`."""

_LONGEST_PAUSE = 30.0
_REDIRECTS = 10
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class WrongBytes(LocalchatError):
    """A source has something else than what is asked of it. Exit code 4: a failed verification."""

    exit_code = 4


class OtherFile(WrongBytes):
    """A source says itself, before it sends a byte, that it has another file."""


class Interruption(Exception):
    """The transfer broke off in a way that another try may mend; `after`: seconds to wait first."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the bytes of one file are."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the origin of `url` alone."""


class Sink(Protocol):
    """What takes in the bytes: see `localchat.registry.partial`."""

    @property
    def size(self) -> int: ...
    @property
    def expected(self) -> int: ...
    @property
    def validator(self) -> str | None: ...
    def append(self, data: bytes) -> None: ...
    def restart(self) -> None: ...
    def remember(self, validator: str | None) -> None: ...


class Patience:
    """Counts tries that brought nothing new, and waits between them."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._vain = 0

    def progressed(self) -> None:
        self._vain = 0

    def wait(self, reason: Interruption) -> None:
        """Returns when it is time to try again. Raises NetworkNeeded when it was often enough."""
        self._vain += 1
        if self._vain >= ATTEMPTS:
            raise NetworkNeeded(f"The download broke off: {reason}.") from reason
        pause = min(PAUSE * 2 ** (self._vain - 1), _LONGEST_PAUSE)
        if reason.after is not None:
            pause = min(max(pause, reason.after), 4 * _LONGEST_PAUSE)
        if pause >= 2:
            self._note(f"{str(reason).capitalize()}; trying again in {pause:.0f} s …")
        time.sleep(pause)


def fill(
    remote: Remote, sink: Sink, progress: Callable[[int], None], note: Callable[[str], None]
) -> None:
    """Receives what `sink` lacks of the file, in as many connections as it takes.

    `progress` is told the sink's size.
    Raises NetworkNeeded if the source can't be reached or denies the file, WrongBytes if what it
    has is of another size.
    """
    patience = Patience(note)
    best = sink.size
    with _client() as client:
        while sink.size < sink.expected:
            try:
                _receive(client, remote, sink, progress)
            except Interruption as reason:
                # A server that ignores ranges starts over each time: only new ground counts.
                if sink.size > best:
                    patience.progressed()
                best = max(best, sink.size)
                patience.wait(reason)


def fetch_range(remote: Remote, start: int, stop: int, note: Callable[[str], None]) -> bytes:
    """The bytes from `start` to before `stop`. For parts that fit into memory.

    Raises NetworkNeeded; also if the server does not serve ranges.
    """
    patience = Patience(note)
    with _client() as client:
        while True:
            try:
                return _range(client, remote, start, stop)
            except Interruption as reason:
                patience.wait(reason)


def size_of(remote: Remote, note: Callable[[str], None]) -> int:
    """Bytes of the file, by the server's word. Raises NetworkNeeded if it does not say."""
    patience = Patience(note)
    with _client() as client:
        while True:
            try:
                with _opened(client, remote, {"Range": "bytes=0-0"}) as response:
                    is_part = response.status_code == 206
                    size = _whole_size(response) if is_part else _length(response)
            except Interruption as reason:
                patience.wait(reason)
                continue
            if size is None:
                raise NetworkNeeded("The server does not say how long the file is.")
            return size


def _range(client: httpx2.Client, remote: Remote, start: int, stop: int) -> bytes:
    data = bytearray()
    with _opened(client, remote, {"Range": f"bytes={start}-{stop - 1}"}) as response:
        if response.status_code != 206:
            raise NetworkNeeded("The source can't send a part of a file.")
        if _first_byte(response) != start:
            raise Interruption("the server sent another part than was asked for")
        for chunk in _body(response):
            data += chunk
            if len(data) > stop - start:
                raise Interruption("the server sent more than was asked for")
    if len(data) < stop - start:
        raise Interruption("the connection was closed early")
    return bytes(data)


def _receive(
    client: httpx2.Client, remote: Remote, sink: Sink, progress: Callable[[int], None]
) -> None:
    """One connection's worth. Raises Interruption, also where it ends without an error."""
    headers = {}
    if sink.size:
        headers["Range"] = f"bytes={sink.size}-"
        if sink.validator:
            headers["If-Range"] = sink.validator
    with _opened(client, remote, headers) as response:
        if response.status_code == 206:
            if _first_byte(response) != sink.size:
                sink.restart()
                raise Interruption("the server sent another part than was asked for")
            _check_size(_whole_size(response), sink.expected)
        elif response.status_code == 200:
            if sink.size:  # the server ignores ranges, or has another file by now
                sink.restart()
            _check_size(_length(response), sink.expected)
        else:  # 416: what is here is longer than what is there
            sink.restart()
            raise Interruption("the server has no such part of the file")
        sink.remember(_strong(response.headers.get("ETag")))
        for chunk in _body(response):
            sink.append(chunk)
            progress(sink.size)
    if sink.size < sink.expected:
        raise Interruption("the connection was closed early")


def _check_size(found: int | None, expected: int) -> None:
    if found is not None and found != expected:
        raise OtherFile(f"The source has a file of {found:,} bytes, not of {expected:,}.")


@contextmanager
def _opened(
    client: httpx2.Client, remote: Remote, headers: dict[str, str]
) -> Iterator[httpx2.Response]:
    """The response of the place that `remote` leads to: of code 200, 206 or 416."""
    url = remote.url
    for _ in range(_REDIRECTS):
        _check_address(url)
        own = dict(remote.headers) if _origin(url) == _origin(remote.url) else {}
        try:
            with client.stream("GET", url, headers=own | headers) as response:
                if not response.is_redirect:
                    _check_status(response)
                    yield response
                    return
                url = urljoin(url, response.headers.get("Location", ""))
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise Interruption(_reason(error)) from error
        except httpx2.InvalidURL as error:
            raise NetworkNeeded(f"The address {clean(url)!r} can't be used: {error}.") from error
    raise NetworkNeeded("The source redirects without end.")


def _check_status(response: httpx2.Response) -> None:
    code = response.status_code
    if code in _TRANSIENT:
        after = response.headers.get("Retry-After", "")
        raise Interruption(
            f"the server answered {code}", float(after) if after.isdecimal() else None
        )
    if code in (401, 403):
        raise NetworkNeeded(f"The server denies the file ({code}).")
    if code not in (200, 206, 416):
        raise NetworkNeeded(f"The server does not have the file ({code}).")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Interruption("the server packed the file")


def _check_address(url: str) -> None:
    """Raises NetworkNeeded for anything but https, and http to this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and _is_loopback(host):
        return
    raise NetworkNeeded(f"The source leads to {clean(url)[:200]!r}, which is not https.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _body(response: httpx2.Response) -> Iterator[bytes]:
    # Raw: nothing is unpacked, so what is counted is what was sent.
    return response.iter_raw()


def _first_byte(response: httpx2.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _whole_size(response: httpx2.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def _length(response: httpx2.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _strong(etag: str | None) -> str | None:
    """A validator that If-Range may be given: RFC 9110 allows strong ones only."""
    return etag if etag and etag.startswith('"') and len(etag) < 300 else None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"nothing came for {IDLE:.0f} s"
    text = clean(str(error)).strip().rstrip(".")
    return text[:200] or type(error).__name__


@contextmanager
def _client() -> Iterator[httpx2.Client]:
    headers = {"User-Agent": f"localchat/{__version__}", "Accept-Encoding": "identity"}
    with httpx2.Client(timeout=IDLE, headers=headers) as client:
        yield client
