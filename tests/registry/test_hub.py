"""The fake hub itself: that it speaks what a hub must, and keeps a true record."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import wait_until
from tests.registry.faults import GOOD, Fault, Kind
from tests.registry.hub import Hub
from tests.registry.plain_client import CONTENT, DIGEST, ETAG, NAME, REPO, SIZE, ask, connection
from tests.registry.traffic import Body
from tests.registry.transfer import Transfer


@pytest.fixture
def url(hub: Hub) -> str:
    """The address of a file of `CONTENT`."""
    assert hub.add(REPO, NAME, CONTENT) == DIGEST
    return hub.location(REPO, NAME)


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


def test_what_can_not_be_sent_is_not_counted(hub: Hub) -> None:
    here, there = socket.socketpair()
    there.close()
    body = Body(NAME, 0, 5, GOOD)
    with here, pytest.raises(BrokenPipeError):
        Transfer(here, hub).send(memoryview(b"hello"), GOOD, body)
    assert (body.sent, body.completed) == (0, False)
