"""The byte loop against answers that no proper server gives, and ranges for repair and fit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from localchat.errors import LocalchatError, ModelNotFound, NetworkNeeded, VerificationFailed
from localchat.registry.files.partial import Partial
from localchat.registry.sources import http, patience
from localchat.registry.sources.address import Remote
from tests.registry.faults import Fault, Kind
from tests.registry.fetching import CONTENT, NAME, REPO, SIZE, Fetching
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

BODY = b"0123456789"


class Scripted:
    """A server that answers each connection with the next of its answers, as they are."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/model.gguf"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                asked = b""
                while b"\r\n\r\n" not in asked and (piece := connection.recv(65536)):
                    asked += piece
                self.asked.append(asked)
                with suppress(ConnectionError):  # who is told nonsense may leave in the middle
                    connection.sendall(self.answers.pop(0) if self.answers else answer(b"503 No"))


def answer(status: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Connection: close", *headers, b"", body])


def whole(*headers: bytes) -> bytes:
    return answer(b"200 OK", b"Content-Length: 10", *headers, body=BODY)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    with Scripted() as running:
        yield running


def fill(scripted: Scripted, tmp_path: Path, start: bytes = b"") -> bytes:
    """What the file holds in the end."""
    target = tmp_path / "model.gguf"
    (tmp_path / "model.partial").write_bytes(start)
    with Partial(target, len(BODY)) as partial:
        partial.begin("x")
        try:
            http.fill(Remote(scripted.url), partial, lambda done: None, lambda text: None)
        finally:
            content = partial.path.read_bytes()
            assert len(content) == partial.size
    return content


RANGE = b"206 Partial Content"


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Range: bytes 4-9/10",),
        (b"Content-Range: bytes 4-9/*",),
        (b"Content-Range: bytes 4-9/10", b"Content-Length: 6"),
        (b"Content-Range: bytes 4-5/10", b'ETag: W/"weak"'),  # what it ends with says nothing
    ],
)
def test_the_rest_of_a_file(scripted: Scripted, tmp_path: Path, headers: tuple[bytes, ...]) -> None:
    scripted.answers = [answer(RANGE, *headers, body=BODY[4:])]
    assert fill(scripted, tmp_path, BODY[:4]) == BODY
    assert b"range: bytes=4-\r\n" in scripted.asked[0].lower()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (b"Content-Range: bytes 3-9/10",),
        (b"Content-Range: bytes 5-9/10",),
        (b"Content-Range: bytes */10",),
        (b"Content-Range: bytes 4",),
        (b"Content-Range: lines 4-9/10",),
        ("Content-Range: bytes ٤-9/10".encode(),),
        (b"Content-Range: bytes " + b"4" * 5000 + b"-9/10",),
        (b"Content-Range: bytes 4-9/" + b"9" * 5000,),
    ],
)
def test_another_part_than_the_rest(
    scripted: Scripted, tmp_path: Path, headers: tuple[bytes, ...]
) -> None:
    scripted.answers = [answer(RANGE, *headers, body=b"wrong!"), whole()]
    assert fill(scripted, tmp_path, BODY[:4]) == BODY
    assert b"range:" not in scripted.asked[1].lower()


def test_a_server_that_knows_ranges_and_no_versions(scripted: Scripted, tmp_path: Path) -> None:
    """It sends the rest of another file, though it was asked only for that of the first."""
    scripted.answers = [
        answer(b"200 OK", b"Content-Length: 10", b'ETag: "one"', body=BODY[:4]),
        answer(RANGE, b"Content-Range: bytes 4-9/10", b'ETag: "two"', body=b"wrong!"),
        whole(b'ETag: "two"'),
    ]
    assert fill(scripted, tmp_path) == BODY
    assert b'if-range: "one"\r\n' in scripted.asked[1].lower()


@pytest.mark.parametrize("size", [b"9", b"11", b"1" * 18])
@pytest.mark.parametrize("start", [b"", BODY[:4]])
def test_a_file_of_another_size(
    scripted: Scripted, tmp_path: Path, size: bytes, start: bytes
) -> None:
    """An error page, say: what is there is not given up for it."""
    scripted.answers = [answer(b"200 OK", b"Content-Length: " + size, body=b"<html>")]
    with pytest.raises(VerificationFailed, match="The source has a file of"):
        fill(scripted, tmp_path, start)
    assert (tmp_path / "model.partial").read_bytes() == start


@pytest.mark.parametrize(
    ("content_range", "error"),
    [(b"bytes */3", VerificationFailed), (b"bytes */10", None), (b"", None)],
)
def test_a_range_that_a_server_does_not_have(
    scripted: Scripted, tmp_path: Path, content_range: bytes, error: type[Exception] | None
) -> None:
    refusal = answer(b"416 No", b"Content-Range: " + content_range, body=b"no")
    scripted.answers = [refusal, whole()]
    if error is None:
        assert fill(scripted, tmp_path, BODY[:4]) == BODY
    else:
        with pytest.raises(error, match="a file of 3 bytes, not of 10"):
            fill(scripted, tmp_path, BODY[:4])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (b"401 No", NetworkNeeded),
        (b"403 No", NetworkNeeded),
        (b"404 No", ModelNotFound),
        (b"410 No", ModelNotFound),
        (b"418 No", NetworkNeeded),
        (b"204 None", NetworkNeeded),
        (b"304 Same", NetworkNeeded),
        (b"302 Elsewhere", NetworkNeeded),
    ],
)
def test_answers_that_are_final(
    scripted: Scripted, tmp_path: Path, status: bytes, error: type[LocalchatError]
) -> None:
    scripted.answers = [answer(status, b"Content-Length: 0")]
    with pytest.raises(error, match=f"{status[:3].decode()}"):
        fill(scripted, tmp_path, BODY[:4])
    assert len(scripted.asked) == 1
    assert (tmp_path / "model.partial").read_bytes() == BODY[:4]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\x00" * 100,
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        answer(b"200 OK", b"Content-Length: -1"),
        answer(b"200 OK", b"Content-Length: " + b"9" * 5000),
        answer(b"200 OK", b"Content-Length: 1, 2"),
        answer(b"200 OK", b"Transfer-Encoding: chunked", body=b"zz\r\n"),
        answer(b"200 OK", b"X: " + b"x" * 200_000),
        answer(b"503 Busy", b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
        answer(b"503 Busy", b"Retry-After: -5"),
    ],
)
def test_answers_that_make_no_sense_are_asked_for_again(
    scripted: Scripted, tmp_path: Path, nonsense: bytes
) -> None:
    scripted.answers = [nonsense, whole()]
    assert fill(scripted, tmp_path, b"") == BODY


@pytest.mark.parametrize(
    "location", [b"http://[", b"http://\xff\xfe/", b"//", b"http://127.0.0.1:x/", b"http:", b"\x01"]
)
def test_a_redirect_to_nowhere(scripted: Scripted, tmp_path: Path, location: bytes) -> None:
    scripted.answers = [answer(b"302 Elsewhere", b"Location: " + location)]
    with pytest.raises(NetworkNeeded):
        fill(scripted, tmp_path)


def test_what_a_server_says_goes_to_no_terminal_unfiltered(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.answers = [answer(b"302 Elsewhere", b"Location: ftp://a\xc2\x9b31mb/")]
    with pytest.raises(NetworkNeeded) as caught:
        fill(scripted, tmp_path)
    assert str(caught.value).isprintable()


# Ranges, for repair and fit


def remote(hub: Hub) -> Remote:
    return Remote(hub.location(REPO, NAME))


def quiet(text: str) -> None:
    pass


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, SIZE), (5, 300_000), (SIZE - 1, SIZE)])
def test_a_range(hub: Hub, fetching: Fetching, start: int, stop: int) -> None:
    assert http.fetch_range(remote(hub), start, stop, quiet) == CONTENT[start:stop]
    assert hub.sent[NAME] == stop - start


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.FIN, at=7),
        Fault(Kind.RST, at=7),
        Fault(Kind.CLOSED, at=7),
        Fault(Kind.CHUNKED, at=7),
        Fault(Kind.WRONG_RANGE, by=5),
        Fault(Kind.GZIP),
        Fault(Kind.STATUS),
    ],
)
def test_a_range_after_a_fault(hub: Hub, fetching: Fetching, fault: Fault) -> None:
    hub.schedule(fault)
    assert http.fetch_range(remote(hub), 5, 300_000, quiet) == CONTENT[5:300_000]
    hub.schedule(then=replace(fault, at=0))
    with pytest.raises(NetworkNeeded, match="broke off"):
        http.fetch_range(remote(hub), 5, 300_000, quiet)


def test_a_range_is_had_bit_by_bit(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(then=Fault(Kind.FIN, at=30_000))
    assert http.fetch_range(remote(hub), 5, 300_005, quiet) == CONTENT[5:300_005]
    assert fetching.starts == [5 + 30_000 * number for number in range(10)]


def test_a_range_without_end(scripted: Scripted) -> None:
    headers = b"Content-Range: bytes 0-9/10", b"Content-Length: 11"
    scripted.answers = [answer(RANGE, *headers, body=BODY + b"!")] * 9
    with pytest.raises(NetworkNeeded, match="sent more than was asked for"):
        http.fetch_range(Remote(scripted.url), 0, 10, quiet)


def test_a_range_of_a_server_without_ranges(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.RANGE_IGNORED))
    with pytest.raises(NetworkNeeded, match="can't send a part of a file"):
        http.fetch_range(remote(hub), 5, 9, quiet)
    with pytest.raises(NetworkNeeded, match="can't send a part of a file"):
        http.fetch_range(remote(hub), SIZE, SIZE + 9, quiet)
    assert hub.sent[NAME] < SIZE, "the file is not fetched for nothing"


def test_a_size(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.STATUS), Fault(Kind.NONE), Fault(Kind.RANGE_IGNORED))
    assert http.size_of(remote(hub), quiet) == SIZE
    assert http.size_of(remote(hub), quiet) == SIZE
    assert len(hub.requests) == 3
    with pytest.raises(ModelNotFound):
        http.size_of(Remote(hub.location(REPO, "none.gguf")), quiet)


@pytest.mark.parametrize(
    "said",
    [
        answer(RANGE, b"Content-Range: bytes 0-0/*", body=b"0"),
        answer(b"200 OK", body=BODY),
        answer(b"416 No", b"Content-Length: 2", body=b"no"),
    ],
)
def test_a_size_that_is_not_said(scripted: Scripted, said: bytes) -> None:
    scripted.answers = [said]
    with pytest.raises(NetworkNeeded, match="does not say how long the file is"):
        http.size_of(Remote(scripted.url), quiet)
