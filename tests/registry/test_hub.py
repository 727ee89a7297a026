"""The fake hub itself: that it speaks what a hub must, and that each fault can be seen.

The client here is http.client: it neither follows redirects nor asks again.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import wait_until

from .faults import BEYOND, DISTURBANCES, GOOD, Fault, Kind, random_schedule
from .hub import Hub

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


# A hub that behaves


def test_a_whole_file(hub: Hub, url: str) -> None:
    answer = ask(url)
    assert (answer.status, answer.content) == (200, CONTENT)
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-repo-commit"] == hub.commit(REPO)


def test_its_head_only(hub: Hub, url: str) -> None:
    head, whole = ask(url, "HEAD"), ask(url)
    assert not head.content
    for answer in (head, whole):
        del answer.headers["date"]
    assert head.headers == whole.headers
    assert len(hub.bodies) == 1


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-", 0, SIZE),
        ("bytes=10-", 10, SIZE),
        ("bytes=10-19", 10, 20),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes=5-{SIZE + 100}", 5, SIZE),
    ],
)
def test_a_range(hub: Hub, url: str, asked: str, start: int, stop: int) -> None:
    answer = ask(url, Range=asked, If_Range=ETAG)
    assert (answer.status, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(stop - start)
    (body,) = hub.bodies
    assert (body.path, body.start, body.length) == (NAME, start, stop - start)


def test_a_range_of_another_file_is_the_whole_file(url: str) -> None:
    assert ask(url, Range="bytes=10-").status == 206
    answer = ask(url, Range="bytes=10-", If_Range='"another"')
    assert (answer.status, answer.content) == (200, CONTENT)


def test_a_range_past_the_end(url: str) -> None:
    answer = ask(url, Range=f"bytes={SIZE}-")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{SIZE}")


def test_a_connection_serves_many_requests(url: str) -> None:
    with connection(url) as client:
        for _ in range(3):
            client.request("GET", urlsplit(url).path, headers={"Range": "bytes=1-3"})
            assert client.getresponse().read() == CONTENT[1:4]
            client.request("GET", "/nothing/here/at/all")
            assert client.getresponse().read()


def test_a_file_on_disk_is_served_from_there(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(CONTENT)
    assert hub.add(REPO, "folder/a b.gguf", tmp_path / "big") == DIGEST
    answer = ask(hub.location(REPO, "folder/a%20b.gguf"), Range="bytes=7-")
    assert answer.content == CONTENT[7:]
    assert hub.sent == {"folder/a b.gguf": SIZE - 7}


def test_commits_stay_when_their_branch_moves_on(hub: Hub, url: str) -> None:
    first = hub.commit(REPO)
    hub.add(REPO, "other", b"other")
    hub.add(REPO, NAME, b"newer")
    hub.add(REPO, NAME, b"tried", revision="refs/pr/1")
    assert len({first, hub.commit(REPO), hub.commit(REPO, "refs/pr/1")}) == 3
    assert ask(hub.location(REPO, NAME, first)).content == CONTENT
    assert ask(hub.location(REPO, NAME)).content == b"newer"
    assert ask(hub.location(REPO, NAME, "refs%2Fpr%2F1")).content == b"tried"
    assert ask(hub.location(REPO, "other")).content == b"other"
    assert ask(hub.location(REPO, "other", first)).status == 404


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/{REPO}/resolve/main/nothing.gguf", "EntryNotFound"),
        (f"/{REPO}/resolve/nowhere/{NAME}", "RevisionNotFound"),
        (f"/owner/nothing/resolve/main/{NAME}", "RepoNotFound"),
        (f"/api/models/{REPO}/revision/nowhere", "RevisionNotFound"),
        ("/api/models/owner/nothing", "RepoNotFound"),
        ("/api/agent-harnesses", None),
    ],
)
def test_what_is_not_there(hub: Hub, url: str, path: str, code: str | None) -> None:
    hub.schedule(then=Fault(Kind.FIN))
    answer = ask(hub.url + path)
    assert (answer.status, answer.headers.get("x-error-code")) == (404, code)
    assert not hub.bodies


def test_a_listing(hub: Hub, url: str) -> None:
    hub.add(REPO, "README.md", b"# Model")
    short = json.loads(ask(f"{hub.url}/api/models/{REPO}").content)
    assert (short["id"], short["sha"]) == (REPO, hub.commit(REPO))
    assert short["siblings"] == [{"rfilename": "README.md"}, {"rfilename": NAME}]
    full = json.loads(ask(f"{hub.url}/api/models/{REPO}/revision/main?blobs=true").content)
    assert full["siblings"][1]["size"] == SIZE
    assert full["siblings"][1]["lfs"]["sha256"] == DIGEST


def test_a_content_network(hub: Hub, url: str) -> None:
    hub.cdn = True
    for method in ("HEAD", "GET"):
        answer = ask(url, method)
        assert answer.status == 302
        assert answer.headers["x-linked-etag"] == ETAG
        assert answer.headers["x-linked-size"] == str(SIZE)
        assert answer.headers["x-repo-commit"] == hub.commit(REPO)
    assert not hub.bodies
    there = answer.headers["location"]
    assert there.startswith(hub.cdn_url + "/")
    whole = ask(there, Authorization="Bearer mine")
    assert whole.content == CONTENT
    assert "x-repo-commit" not in whole.headers

    # Its ETag is its own: the hub's makes it send all again.
    assert ask(there, Range="bytes=9-", If_Range=whole.headers["etag"]).status == 206
    assert ask(there, Range="bytes=9-", If_Range=ETAG).status == 200
    ports = [urlsplit(origin).port for origin in (hub.url, hub.cdn_url)]
    assert [ports.index(request.port) for request in hub.requests] == [0, 0, 1, 1, 1]
    assert [r.authorization for r in hub.requests[:3]] == [None, None, "Bearer mine"]


def test_a_model_that_was_renamed(hub: Hub, url: str) -> None:
    hub.moved["old/name"] = REPO
    answer = ask(hub.location("old/name", NAME))
    assert (answer.status, answer.headers["location"]) == (307, urlsplit(url).path)
    answer = ask(f"{hub.url}/api/models/old/name")
    assert (answer.status, answer.headers["location"]) == (307, f"/api/models/{REPO}")


def test_a_gated_model(hub: Hub, url: str) -> None:
    hub.token = "hf_mine"
    for address in (url, f"{hub.url}/api/models/{REPO}"):
        nobody = ask(address)
        assert (nobody.status, nobody.headers["x-error-code"]) == (401, "GatedRepo")
        other = ask(address, Authorization="Bearer hf_other")
        assert (other.status, other.headers["x-error-code"]) == (403, "GatedRepo")
        assert ask(address, Authorization="Bearer hf_mine").status == 200


def test_everything_is_on_record(hub: Hub, url: str) -> None:
    ask(url, "HEAD")
    ask(url, Range="bytes=1-2", If_Range=ETAG)
    ask(url)
    ask(hub.url + "/api/agent-harnesses")
    assert [request.method for request in hub.requests] == ["HEAD", "GET", "GET", "GET"]
    assert hub.requests[0].path.startswith(urlsplit(url).path)
    assert (hub.requests[1].range, hub.requests[1].if_range) == ("bytes=1-2", ETAG)
    assert hub.requests[3].path.startswith("/api/agent-harnesses")
    assert hub.sent == {NAME: 2 + SIZE}
    assert [body.completed for body in hub.bodies] == [True, True]


def test_a_body_that_its_client_leaves_is_not_completed(hub: Hub, url: str) -> None:
    hub.schedule(Fault(Kind.STALL, at=1000))
    with connection(url) as client:
        client.request("GET", urlsplit(url).path)
        with client.getresponse() as response:
            assert response.read(1000) == CONTENT[:1000]
    hub.release()
    assert ask(url).content == CONTENT
    assert [body.completed for body in hub.bodies] == [False, True]
    assert 1000 <= hub.bodies[0].sent < SIZE


# A hub that does not


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
    different = [place for place, byte in enumerate(answer.content) if byte != good[place]]
    assert different == [min(at, len(good) - 1)]
    assert (answer.content[different[0]] ^ good[different[0]]).bit_count() == 1


@pytest.mark.parametrize("at", [0, 1, 700_000, SIZE - 1])
def test_a_connection_ends_early(hub: Hub, url: str, at: int) -> None:
    answer = seen(hub, url, Fault(Kind.FIN, at=at))
    assert answer.headers["content-length"] == str(SIZE)
    assert (answer.content, answer.error) == (CONTENT[:at], None)
    assert hub.bodies[0].sent == at


@pytest.mark.parametrize("at", [0, 1, 700_000, SIZE])
def test_a_connection_is_reset(hub: Hub, url: str, at: int) -> None:
    hub.schedule(Fault(Kind.RST, at=at))
    address = urlsplit(url)
    with socket.create_connection(("127.0.0.1", address.port or 0), timeout=10) as client:
        client.sendall(f"GET {address.path} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
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


def test_a_slow_hub_is_as_slow_as_it_is_told(hub: Hub, url: str) -> None:
    hub.rate = 50
    with connection(url) as client:
        client.request("GET", urlsplit(url).path)
        with client.getresponse() as response:
            assert response.read(3) == CONTENT[:3]
            assert hub.bodies[0].sent < 100
            hub.rate = None
            assert response.read() == CONTENT[3:]


def test_what_was_sent_is_little_ahead_of_what_was_read(hub: Hub) -> None:
    hub.add(REPO, NAME, bytes(16 << 20))
    url = hub.location(REPO, NAME)
    looks: list[int] = [0]

    def has_stopped() -> bool:
        looks.append(hub.sent[NAME])
        return looks[-1] > 0 and len(looks) > 20 and looks[-1] == looks[-20]

    with connection(url) as client:
        client.request("GET", urlsplit(url).path)
        with client.getresponse() as response:
            assert response.read(1) == b"\0"
            wait_until(has_stopped)
            assert looks[-1] < 1 << 20


def test_leaving_ends_what_is_going_on() -> None:
    with ExitStack() as stack:
        hub = stack.enter_context(Hub())
        hub.add(REPO, NAME, CONTENT)
        url = hub.location(REPO, NAME)
        hub.schedule(Fault(Kind.STALL, at=5))
        with connection(url) as idle, connection(url) as stalled:
            idle.request("HEAD", urlsplit(url).path)
            idle.getresponse().read()
            stalled.request("GET", urlsplit(url).path)
            wait_until(lambda: hub.sent[NAME] == 5)
            stack.close()
            assert idle.sock is not None
            assert idle.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            ask(url)


def test_a_failure_of_the_hub_itself_is_raised() -> None:
    with ExitStack() as stack:
        hub = stack.enter_context(Hub())
        hub.add(REPO, NAME, b"")
        hub.schedule(Fault(Kind.WRONG_RANGE))
        with pytest.raises(http.client.RemoteDisconnected):
            ask(hub.location(REPO, NAME))
        with pytest.raises(ZeroDivisionError):
            stack.close()


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


# What huggingface_hub makes of it

Script = Callable[..., Any]


@pytest.fixture
def huggingface(hub: Hub, tmp_path: Path) -> Script:
    """Runs code with `hf` imported in a process that knows this hub only; returns its `result`."""

    def run(code: str, **values: object) -> Any:
        program = (
            "import json, sys, huggingface_hub as hf\n"
            "globals().update(json.loads(sys.argv[1]))\n"
            f"{code}\nprint(json.dumps(result))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(values)],
            env=os.environ | hub.environment(tmp_path / "hf"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


METADATA = """
url = hf.hf_hub_url(repo, name)
about = hf.get_hf_file_metadata(url, token="hf_mine")
result = [url, about.commit_hash, about.etag, about.size, about.location]
"""

DOWNLOAD = """
info = hf.HfApi().model_info(repo, revision="main", files_metadata=True)
result = [info.sha] + [[s.rfilename, s.size, s.lfs and s.lfs.sha256] for s in info.siblings]
result.append(hf.HfApi().model_info(repo).sha)
result.append(hf.hf_hub_download(repo, name))
"""

ERRORS = """
result = []
for owner, revision, file in tries:
    for call in (
        lambda: hf.get_hf_file_metadata(hf.hf_hub_url(owner, file, revision=revision)),
        lambda: hf.HfApi().model_info(owner, revision=revision),
    ):
        try:
            call()
            result.append("")
        except Exception as error:
            result.append(type(error).__name__)
"""


def test_huggingface_hub_downloads(hub: Hub, url: str, huggingface: Script) -> None:
    commit = hub.commit(REPO)
    *info, path = huggingface(DOWNLOAD, repo=REPO, name=NAME)
    assert info == [commit, [NAME, SIZE, DIGEST], commit]
    assert Path(path).read_bytes() == CONTENT
    assert [body.completed for body in hub.bodies] == [True]


def test_huggingface_hub_downloads_by_redirects(hub: Hub, url: str, huggingface: Script) -> None:
    hub.cdn = True
    hub.moved["old/name"] = REPO
    *_, path = huggingface(DOWNLOAD, repo="old/name", name=NAME)
    assert Path(path).read_bytes() == CONTENT
    assert [body.completed for body in hub.bodies] == [True]


@pytest.mark.parametrize("cdn", [False, True])
def test_huggingface_hub_reads_metadata(hub: Hub, url: str, huggingface: Script, cdn: bool) -> None:
    hub.cdn = cdn
    hub.token = "hf_mine"
    *about, location = huggingface(METADATA, repo=REPO, name=NAME)
    assert about == [url, hub.commit(REPO), DIGEST, SIZE]
    assert location.startswith(hub.cdn_url if cdn else hub.url)
    assert {request.authorization for request in hub.requests} == {"Bearer hf_mine"}


def test_huggingface_hub_tells_the_errors_apart(hub: Hub, url: str, huggingface: Script) -> None:
    tries = [(REPO, None, NAME), (REPO, None, "no"), (REPO, "no", NAME), ("owner/no", None, NAME)]
    assert huggingface(ERRORS, tries=tries) == [
        *("", ""),
        *("RemoteEntryNotFoundError", ""),
        *("RevisionNotFoundError",) * 2,
        *("RepositoryNotFoundError",) * 2,
    ]
    hub.token = "hf_mine"
    assert huggingface(ERRORS, tries=tries[:1]) == ["GatedRepoError"] * 2
    hub.token = None
    hub.schedule_metadata(*[Fault(Kind.STATUS, status=status) for status in (429, 503)])
    assert huggingface(ERRORS, tries=tries[:1]) == ["HfHubHTTPError"] * 2
