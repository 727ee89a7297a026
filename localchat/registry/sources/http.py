"""Receives a file by HTTP, byte range by byte range, until it is all there.

What the server says is believed where being wrong costs a retry only; which bytes are right is
`partial`'s to decide.
"""

from __future__ import annotations

import functools
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from localchat import __version__
from localchat.errors import ModelNotFound, NetworkNeeded
from localchat.registry.files.partial import NotInParts, OtherFile, Partial
from localchat.registry.sources import address, patience
from localchat.registry.sources.address import Remote as Remote
from localchat.registry.sources.patience import TRANSIENT, Interruption, Patience
from localchat.sanitize import clean

_REDIRECTS = 10
_BROKE_OFF = "the server broke off its answer"
_NUMBER = r"\d{1,18}"
_CONTENT_RANGE = re.compile(rf"bytes (?:({_NUMBER})-{_NUMBER}|\*)/({_NUMBER}|\*)", re.ASCII)
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,300}"')


class _OtherPart(Interruption):
    """The server does not send the range that was asked for: it has to be asked for everything."""


def fill(
    remote: Remote, partial: Partial, progress: Callable[[int], None], note: Callable[[str], None]
) -> None:
    """Receives what `partial` lacks of the file, in as many connections as it takes.

    `progress` is told the size of `partial`.
    Raises NetworkNeeded if the source can't be reached or denies the file, ModelNotFound if it
    has none, WrongBytes if what it has is of another size.
    """
    patient = Patience(note)
    best = partial.size
    whole = False
    with _client() as client:
        while partial.size < partial.expected:
            try:
                _receive(client, remote, partial, progress, whole=whole)
            except Interruption as reason:
                whole = isinstance(reason, _OtherPart)
                # A server that ignores ranges starts over each time: only new ground counts.
                if partial.size > best:
                    patient.progressed()
                best = max(best, partial.size)
                patient.wait(reason)


def fetch_range(remote: Remote, start: int, stop: int, note: Callable[[str], None]) -> bytes:
    """The bytes from `start` to before `stop`. For parts that fit into memory.

    Raises NetworkNeeded (NotInParts if the server does not serve ranges), ModelNotFound.
    """
    patient = Patience(note)
    data = bytearray()
    with _client() as client:
        while len(data) < stop - start:
            before = len(data)
            try:
                _range(client, remote, start + before, stop, data)
            except Interruption as reason:
                if len(data) > before:
                    patient.progressed()
                patient.wait(reason)
    return bytes(data)


def size_of(remote: Remote, note: Callable[[str], None]) -> int:
    """Bytes of the file, by the server's word. Raises NetworkNeeded, ModelNotFound."""
    patient = Patience(note)
    with _client() as client:
        while True:
            try:
                with _opened(client, remote, {"Range": "bytes=0-0"}) as response:
                    size = _whole_size(response)
            except Interruption as reason:
                patient.wait(reason)
                continue
            if size is None:
                raise NetworkNeeded("The server does not say how long the file is.")
            return size


def _range(client: httpx2.Client, remote: Remote, start: int, stop: int, data: bytearray) -> None:
    """Adds to `data` what comes of the bytes from `start` to before `stop`."""
    wanted = len(data) + stop - start
    with _opened(client, remote, {"Range": f"bytes={start}-{stop - 1}"}) as response:
        if response.status_code != 206:
            raise NotInParts("The source can't send a part of a file.")
        if _first_byte(response) != start:
            raise _OtherPart("the server sent another part than was asked for")
        for chunk in response.iter_raw():
            if len(data) + len(chunk) > wanted:
                raise Interruption("the server sent more than was asked for")
            data += chunk
    if len(data) < wanted:
        raise Interruption(_BROKE_OFF)


def _receive(
    client: httpx2.Client,
    remote: Remote,
    partial: Partial,
    progress: Callable[[int], None],
    *,
    whole: bool,
) -> None:
    """One connection's worth. Raises Interruption, also where it ends without an error.

    `whole`: asks for all of the file, not for the rest.
    """
    headers = {}
    validator = _strong(partial.validator)
    if partial.size and not whole:
        headers["Range"] = f"bytes={partial.size}-"
        if validator:
            headers["If-Range"] = validator
    with _opened(client, remote, headers) as response:
        size = _whole_size(response)
        if size is not None and size != partial.expected:
            raise OtherFile(
                f"The source has a file of {size:,} bytes, not of {partial.expected:,}."
            )
        version = _strong(response.headers.get("ETag"))
        if response.status_code == 200:
            # It sends everything: it ignores ranges, or has another file by now.
            partial.restart()
        elif _first_byte(response) != partial.size or (
            validator and version and version != validator
        ):
            raise _OtherPart("the server sent another part than was asked for")
        partial.remember(version)
        # Raw: nothing is unpacked, so what is counted is what was sent.
        for chunk in response.iter_raw():
            partial.append(chunk)
            progress(partial.size)
    if partial.size < partial.expected:
        raise Interruption(_BROKE_OFF)


@contextmanager
def _opened(
    client: httpx2.Client, remote: Remote, headers: dict[str, str]
) -> Iterator[httpx2.Response]:
    """The response of the place that `remote` leads to: of code 200, 206 or 416."""
    url = address.check(remote.url)
    for _ in range(_REDIRECTS):
        try:
            with client.stream("GET", url, headers=remote.headers_for(url) | headers) as response:
                if not response.has_redirect_location:
                    _check_status(response)
                    yield response
                    return
                location = response.headers["Location"]
        except httpx2.TransportError as error:
            raise Interruption(_reason(error)) from error
        except httpx2.InvalidURL as error:
            raise NetworkNeeded(f"The address {clean(url)[:200]!r} can't be used.") from error
        url = address.follow(url, location)
    raise NetworkNeeded("The source redirects without end.")


def _check_status(response: httpx2.Response) -> None:
    code = response.status_code
    if code in TRANSIENT:
        raise Interruption(f"the server answered {code}", response.headers.get("Retry-After"))
    if code in (401, 403):
        raise NetworkNeeded(f"The server denies the file ({code}).")
    if code in (404, 410):
        raise ModelNotFound(f"The server does not have the file ({code}).")
    if code not in (200, 206, 416):
        raise NetworkNeeded(f"The server answered {code}.")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Interruption("the server packed the file")


def _first_byte(response: httpx2.Response) -> int | None:
    """Where the part that is sent begins in the file; None if that is not said."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found and found[1] else None


def _whole_size(response: httpx2.Response) -> int | None:
    """Bytes of the whole file; None if that is not said."""
    if response.status_code == 200:
        text = response.headers.get("Content-Length", "")
    else:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        text = found[2] if found else ""
    return int(text) if re.fullmatch(_NUMBER, text, re.ASCII) else None


def _strong(etag: str | None) -> str | None:
    """A validator that If-Range may be given: RFC 9110 allows strong ones only."""
    return etag if etag and _STRONG.fullmatch(etag) else None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"nothing came for {patience.IDLE:.0f} s"
    if isinstance(error, httpx2.RemoteProtocolError):
        return _BROKE_OFF
    text = clean(str(error)).strip().rstrip(".")
    return text[:200] or type(error).__name__


@contextmanager
def _client() -> Iterator[httpx2.Client]:
    headers = {"User-Agent": f"localchat/{__version__}", "Accept-Encoding": "identity"}
    with httpx2.Client(timeout=patience.IDLE, headers=headers, verify=_trusted()) as client:
        yield client


@functools.cache
def _trusted() -> ssl.SSLContext:
    # Reading the certificates takes 20 ms, and a repair opens a client for each range.
    return httpx2.create_ssl_context()
