"""The faults of the fake hub: that each can be seen by its client, and ends with its answer."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections import Counter
from hashlib import sha256
from urllib.parse import urlsplit

import pytest

from tests.conftest import wait_until
from tests.registry.faults import BEYOND, DISTURBANCES, GOOD, Fault, Kind, random_schedule
from tests.registry.hub import Hub
from tests.registry.plain_client import (
    CONTENT,
    DIGEST,
    ETAG,
    NAME,
    REPO,
    SIZE,
    Answer,
    ask,
    connection,
    receive,
)


@pytest.fixture
def url(hub: Hub) -> str:
    """The address of a file of `CONTENT`."""
    assert hub.add(REPO, NAME, CONTENT) == DIGEST
    return hub.location(REPO, NAME)


def seen(hub: Hub, url: str, fault: Fault, **headers: str) -> Answer:
    """The answer with a fault; the one after it is good."""
    hub.schedule(fault)
    answer = ask(url, "GET", 10.0, **headers)
    assert ask(url).content == CONTENT
    return answer


def test_faults_are_taken_one_an_answer(hub: Hub, url: str) -> None:
    busy = Fault(Kind.STATUS, status=429, retry_after=7)
    hub.schedule(busy, Fault(Kind.GZIP), then=Fault(Kind.STATUS, status=500, code="Oh"))
    hub.schedule_metadata(Fault(Kind.STATUS, status=504))
    assert [ask(url, "HEAD").status for _ in range(2)] == [504, 200]
    first = ask(url)
    assert (first.status, first.headers["retry-after"]) == (429, "7")
    assert hub.body_faults.left == 1
    assert ask(url).headers["content-encoding"] == "gzip"
    for _ in range(3):
        last = ask(url)
        assert (last.status, last.headers["x-error-code"]) == (500, "Oh")
        assert "retry-after" not in last.headers
    hub.schedule()
    assert ask(url).content == CONTENT


@pytest.mark.parametrize("at", [0, 1, 500_000, SIZE - 1, SIZE + 9])
@pytest.mark.parametrize("start", [0, 10])
def test_one_bit_flips(hub: Hub, url: str, at: int, start: int) -> None:
    answer = seen(hub, url, Fault(Kind.CORRUPT, at=at), Range=f"bytes={start}-")
    good = CONTENT[start:]
    assert len(answer.content) == len(good)
    flipped = int.from_bytes(answer.content, "little") ^ int.from_bytes(good, "little")
    assert flipped.bit_count() == 1
    assert (flipped.bit_length() - 1) // 8 == min(at, len(good) - 1)


@pytest.mark.parametrize("at", [0, 1, 700_000, SIZE - 1])
def test_a_connection_ends_early(hub: Hub, url: str, at: int) -> None:
    answer = seen(hub, url, Fault(Kind.FIN, at=at))
    assert answer.headers["content-length"] == str(SIZE)
    assert (answer.content, answer.error) == (CONTENT[:at], None)
    assert hub.bodies[0].sent == at


@pytest.mark.parametrize("at", [0, 1, 50_000])
def test_a_connection_is_reset(hub: Hub, url: str, at: int) -> None:
    hub.schedule(Fault(Kind.RST, at=at))
    address = urlsplit(url)
    with socket.socket() as client:
        # Less than what is sent: the reset must wait for the client, who must have all of it.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", address.port))
        client.sendall(f"GET {address.path} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
        wait_until(lambda: hub.bodies and hub.bodies[0].completed)
        came = bytearray()
        with pytest.raises(ConnectionResetError):
            receive(client, came)
    assert came.partition(b"\r\n\r\n")[2] == CONTENT[:at], "all that was sent, then the reset"


def test_a_stall_ends_when_it_is_told_to(hub: Hub, url: str) -> None:
    hub.schedule(then=Fault(Kind.STALL, at=1000))
    for _ in range(2):
        with connection(url, timeout=0.2) as client:
            client.request("GET", urlsplit(url).path)
            with client.getresponse() as response:
                assert response.read(1000) == CONTENT[:1000]
                with pytest.raises(TimeoutError):
                    response.fp.read(1)
                hub.release()
                assert client.sock is not None
                client.sock.settimeout(10)
                wait_until(lambda: hub.bodies[-1].sent > 1000)


def test_a_stall_ends_by_itself(hub: Hub, url: str) -> None:
    assert seen(hub, url, Fault(Kind.STALL, at=1000, seconds=0.05)).content == CONTENT


@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.CHUNKED])
@pytest.mark.parametrize("at", [0, 1, 700_000, SIZE])
def test_a_body_without_a_length_ends_early(hub: Hub, url: str, kind: Kind, at: int) -> None:
    answer = seen(hub, url, Fault(kind, at=at), Range="bytes=10-")
    assert "content-length" not in answer.headers
    assert (answer.headers.get("transfer-encoding") == "chunked") == (kind is Kind.CHUNKED)
    assert (answer.content, answer.error) == (CONTENT[10:][:at], None)


def test_an_endless_body(hub: Hub, url: str) -> None:
    answer = seen(hub, url, Fault(Kind.ENDLESS))
    assert "content-length" not in answer.headers
    assert answer.content[:SIZE] == CONTENT
    assert len(answer.content) == SIZE + BEYOND


def test_an_endless_body_ends_when_its_client_leaves(hub: Hub, url: str) -> None:
    hub.schedule(Fault(Kind.ENDLESS))
    with connection(url) as client:
        client.request("GET", urlsplit(url).path)
        with client.getresponse() as response:
            assert response.read(SIZE + 1)[:SIZE] == CONTENT
    assert ask(url).content == CONTENT
    assert hub.bodies[0].sent < BEYOND
    assert not hub.bodies[0].completed


def test_a_range_is_ignored(hub: Hub, url: str) -> None:
    answer = seen(hub, url, Fault(Kind.RANGE_IGNORED), Range="bytes=10-", If_Range=ETAG)
    assert (answer.status, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", [None, "bytes=10-", "bytes=10-99"])
def test_a_range_is_another(hub: Hub, url: str, asked: str | None) -> None:
    hub.schedule(Fault(Kind.WRONG_RANGE, by=5))
    answer = ask(url, Range=asked) if asked else ask(url)
    start, stop = 15 if asked else 5, 100 if asked == "bytes=10-99" else SIZE
    assert (answer.status, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"


@pytest.mark.parametrize("by", [-SIZE + 11, -1, 1, 100_000])
def test_a_size_is_wrong(hub: Hub, url: str, by: int) -> None:
    wrong = (CONTENT + bytes(100_000))[: SIZE + by]
    fault = Fault(Kind.WRONG_SIZE, by=by)
    answer = seen(hub, url, fault)
    assert (answer.headers["content-length"], answer.content) == (str(SIZE + by), wrong)
    answer = seen(hub, url, fault, Range="bytes=10-")
    assert answer.headers["content-range"] == f"bytes 10-{SIZE + by - 1}/{SIZE + by}"
    assert answer.content == wrong[10:]

    hub.schedule_metadata(fault, fault)
    assert ask(url, "HEAD").headers["content-length"] == str(SIZE + by)
    hub.cdn = True
    assert ask(url, "HEAD").headers["x-linked-size"] == str(SIZE + by)


def test_another_file_stands_there(hub: Hub, url: str) -> None:
    other = bytes(255 - byte for byte in CONTENT)
    answer = seen(hub, url, Fault(Kind.SWAPPED))
    assert (answer.status, answer.content) == (200, other)
    assert answer.headers["etag"] == f'"{sha256(other).hexdigest()}"'
    guarded = seen(hub, url, Fault(Kind.SWAPPED), Range="bytes=10-", If_Range=ETAG)
    assert (guarded.status, guarded.content) == (200, other)
    careless = seen(hub, url, Fault(Kind.SWAPPED), Range="bytes=10-")
    assert (careless.status, careless.content) == (206, other[10:])


def test_hostile_names(hub: Hub, url: str) -> None:
    evil = "../../../X"
    assert seen(hub, url, Fault(Kind.ETAG)).headers["etag"] == f'"{evil}"'
    assert seen(hub, url, Fault(Kind.COMMIT)).headers["x-repo-commit"] == evil
    hub.schedule_metadata(*[Fault(kind) for kind in (Kind.ETAG, Kind.COMMIT) for _ in range(2)])
    listing = f"{hub.url}/api/models/{REPO}?blobs=true"
    assert ask(url, "HEAD").headers["etag"] == f'"{evil}"'
    assert json.loads(ask(listing).content)["siblings"][0]["lfs"]["sha256"] == evil
    assert ask(url, "HEAD").headers["x-repo-commit"] == evil
    assert json.loads(ask(listing).content)["sha"] == evil
    hub.cdn = True
    hub.schedule_metadata(Fault(Kind.ETAG), Fault(Kind.COMMIT))
    assert ask(url, "HEAD").headers["x-linked-etag"] == f'"{evil}"'
    assert ask(url, "HEAD").headers["x-repo-commit"] == evil


def test_a_compression_that_is_not_there(hub: Hub, url: str) -> None:
    answer = seen(hub, url, Fault(Kind.GZIP))
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", CONTENT)


@pytest.mark.parametrize("value", ["http://203.0.113.7/x", "file:///etc/passwd"])
def test_redirects_elsewhere(hub: Hub, url: str, value: str) -> None:
    answer = seen(hub, url, Fault(Kind.REDIRECT, value=value))
    assert (answer.status, answer.headers["location"]) == (302, value)
    hub.schedule_metadata(Fault(Kind.REDIRECT, value=value))
    assert ask(url, "HEAD").headers["location"] == value


def test_a_redirect_that_never_ends(hub: Hub, url: str) -> None:
    hub.schedule(then=Fault(Kind.LOOP))
    address = url
    for _ in range(3):
        answer = ask(address)
        assert answer.status == 302
        address = hub.url + answer.headers["location"]
    assert not hub.bodies


@pytest.mark.parametrize("path", [f"/{REPO}/resolve/main/{NAME}", f"/api/models/{REPO}"])
def test_metadata_that_does_not_come(hub: Hub, url: str, path: str) -> None:
    method = "GET" if path.startswith("/api") else "HEAD"
    stall = Fault(Kind.STALL)
    hub.schedule_metadata(Fault(Kind.FIN), Fault(Kind.RST), stall)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(hub.url + path, method)
    with pytest.raises(ConnectionResetError) as reset:
        ask(hub.url + path, method)
    assert not isinstance(reset.value, http.client.RemoteDisconnected), "a FIN would be one"
    with pytest.raises(TimeoutError):
        ask(hub.url + path, method, timeout=0.1)
    assert ask(hub.url + path, method).status == 200


def test_faults_of_a_content_network_are_of_its_bodies(hub: Hub, url: str) -> None:
    hub.cdn = True
    hub.schedule(Fault(Kind.FIN, at=9))
    there = ask(url).headers["location"]
    assert ask(there).content == CONTENT[:9]
    assert ask(there).content == CONTENT


def test_random_schedules() -> None:
    schedules = [random_schedule(random.Random(seed), SIZE, stall=0.5) for seed in range(500)]
    assert {len(schedule) for schedule in schedules} == set(range(1, 9))
    faults = [fault for schedule in schedules for fault in schedule]
    assert Counter(fault.kind for fault in faults).keys() == set(DISTURBANCES)
    assert {0, 1, SIZE - 1, SIZE} <= {fault.at for fault in faults if fault.kind is Kind.FIN}
    assert {fault.seconds for fault in faults} == {0.5}
    assert GOOD.kind not in DISTURBANCES
    assert schedules[7] == random_schedule(random.Random(7), SIZE, stall=0.5)
    only = random_schedule(random.Random(7), SIZE, kinds=(Kind.RST,))
    assert {fault.kind for fault in only} == {Kind.RST}
