"""A download from a hub that misbehaves: what is refused, and what a retry mends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from localchat.errors import ModelNotFound, NetworkNeeded, VerificationFailed
from localchat.registry import pull
from localchat.registry.sources import patience
from tests.conftest import Quiet
from tests.registry.faults import BEYOND, Fault, Kind
from tests.registry.fetching import CONTENT, ETAG, NAME, REPO, SIZE, Fetching, at_address
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

HALF = 400_000


def test_a_good_hub(hub: Hub, fetching: Fetching) -> None:
    assert fetching.run() == f"hf:{REPO}/{NAME}@{hub.commit(REPO)}"
    fetching.check()
    assert fetching.notes == []
    assert fetching.seen == sorted(fetching.seen)
    assert fetching.seen[-1] == SIZE
    assert fetching.starts == [0]
    assert fetching.run() is None
    assert fetching.starts == [0], "it was there"


# What is refused


@pytest.mark.parametrize("at", [0, HALF, SIZE - 1])
def test_a_bit_flips(hub: Hub, fetching: Fetching, at: int) -> None:
    hub.schedule(Fault(Kind.CORRUPT, at=at))
    with pytest.raises(VerificationFailed, match=r"not the right one \(its sha256 is another\)"):
        fetching.run()
    assert fetching.left() == {".lock"}
    assert fetching.notes == []
    fetching.run()
    fetching.check()


def test_a_bit_flips_in_a_later_piece(hub: Hub, fetching: Fetching) -> None:
    # Which piece is the bad one can't be told, so all of it comes once more.
    hub.schedule(Fault(Kind.FIN, at=HALF), Fault(Kind.CORRUPT, at=9))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF, 0]


def test_a_body_without_a_length_has_no_end(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.ENDLESS))
    with pytest.raises(VerificationFailed, match=f"longer than {SIZE} bytes"):
        fetching.run()
    assert fetching.left() == {".lock"}
    assert hub.sent[NAME] < SIZE + BEYOND // 4, "the connection was left at once"
    assert max(fetching.seen) <= SIZE


@pytest.mark.parametrize("by", [-1, 1, 100_000])
def test_a_size_is_wrong(hub: Hub, fetching: Fetching, by: int) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), Fault(Kind.WRONG_SIZE, by=by))
    with pytest.raises(VerificationFailed, match=f"a file of {SIZE + by:,} bytes, not of {SIZE:,}"):
        fetching.run()
    assert fetching.left() == {".lock", ".partial", ".resume"}
    assert fetching.notes == ["0.4 of 0.7 MB are kept; the next download goes on from there."]
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF, HALF], "not a byte of the other file was taken in"


def test_the_hub_says_before_that_it_has_another_file(hub: Hub, fetching: Fetching) -> None:
    for fault in (Fault(Kind.WRONG_SIZE), Fault(Kind.SWAPPED)):
        hub.schedule_metadata(fault)
        with pytest.raises(VerificationFailed, match=f"another file by now as {REPO}/{NAME}"):
            fetching.run()
    assert not hub.bodies


def test_another_file_stands_there_in_mid_download(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.SWAPPED))
    with pytest.raises(VerificationFailed, match="its sha256 is another"):
        fetching.run()
    # The whole other file was sent, not its second half.
    assert fetching.starts == [0, 0]
    assert [request.if_range for request in hub.requests[-2:]] == [None, ETAG]
    assert fetching.left() == {".lock"}


def test_what_a_hub_says_becomes_no_path(
    hub: Hub, fetching: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.registry.care.examine.first_look", lambda *_: None)
    for value in ("../../../X", "/tmp/X", "0" * 63 + "/", "A" * 64, ""):
        for kind in (Kind.ETAG, Kind.COMMIT):
            fault = Fault(kind, value=value)
            hub.schedule(fault)
            hub.schedule_metadata(fault, fault)
            fetching.run()
            fetching.check()
            fetching.final.unlink()
            hub.schedule_metadata(fault, then=fault)
            with pytest.raises((ModelNotFound, NetworkNeeded, VerificationFailed)):
                pull.pull(f"hf:{REPO}", fetching.places, offline=False, watcher=Quiet())
    hub.schedule_metadata()
    hub.add(REPO, "../../../evil.Q8_0.gguf", CONTENT)
    with pytest.raises(ModelNotFound, match="in a way that is not safe"):
        pull.pull(f"hf:{REPO}:Q8_0", fetching.places, offline=False, watcher=Quiet())
    made = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.parent for path in made} == {fetching.places.models}
    assert fetching.left() == {".chunks", ".lock"}


@pytest.mark.parametrize(
    "location",
    [
        "http://example.invalid/model.gguf",
        "http://127.0.0.1.example.invalid/",
        "//example.invalid/model.gguf",
        "ftp://127.0.0.1/model.gguf",
        "file:///etc/passwd",
        "https:///model.gguf",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "data:,x",
    ],
)
def test_a_redirect_that_is_not_safe(hub: Hub, fetching: Fetching, location: str) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.REDIRECT, value=location))
    with pytest.raises(NetworkNeeded, match=r"The source leads to .*, which is not https"):
        fetching.run()
    assert fetching.partial.stat().st_size == HALF, "what had come in is kept"


def test_a_listing_that_is_redirected_to_where_it_is_not_safe(hub: Hub, fetching: Fetching) -> None:
    hub.schedule_metadata(Fault(Kind.REDIRECT, value="http://example.invalid/api"))
    with pytest.raises(NetworkNeeded, match=r"'http://example\.invalid/api', which is not https"):
        pull.pull(f"hf:{REPO}", fetching.places, offline=False, watcher=Quiet())


def test_an_endpoint_that_is_not_safe(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://example.invalid")
    with pytest.raises(NetworkNeeded, match=r"'http://example\.invalid/.*', which is not https"):
        fetching.run(fetching.source)


def test_a_redirect_without_end(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(then=Fault(Kind.LOOP))
    with pytest.raises(NetworkNeeded, match="The source redirects without end"):
        fetching.run()
    hub.schedule_metadata(then=Fault(Kind.LOOP))
    with pytest.raises(NetworkNeeded, match="The hub redirects without end"):
        fetching.run()
    assert len(hub.requests) < 50


# What a retry mends


def test_connections_that_end_early_lose_nothing(hub: Hub, fetching: Fetching) -> None:
    # More often than a source may fail in a row: each brought something.
    hub.schedule(*[Fault(Kind.FIN, at=30_000)] * 20)
    fetching.run()
    fetching.check()
    starts = [30_000 * number for number in range(21)]
    assert fetching.starts == starts
    assert [request.range for request in hub.requests if request.method == "GET"] == [
        None,
        *(f"bytes={start}-" for start in starts[1:]),
    ]
    assert {request.if_range for request in hub.requests[2:]} == {ETAG}
    assert hub.sent[NAME] == SIZE
    assert fetching.seen == sorted(fetching.seen)


@pytest.mark.parametrize("at", [0, 1, HALF, SIZE - 1])
def test_connections_are_reset(hub: Hub, fetching: Fetching, at: int) -> None:
    hub.schedule(Fault(Kind.RST, at=at))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, at]
    assert hub.sent[NAME] == SIZE


@pytest.mark.parametrize("kind", [Kind.CLOSED, Kind.CHUNKED])
@pytest.mark.parametrize("at", [0, HALF])
def test_a_body_without_a_length_ends_early(
    hub: Hub, fetching: Fetching, kind: Kind, at: int
) -> None:
    hub.schedule(Fault(kind, at=at))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, at]


def test_a_stall(hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "IDLE", 0.2)
    hub.schedule(Fault(Kind.STALL, at=HALF))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF]
    assert hub.sent[NAME] == SIZE


def test_a_hub_that_stalls_before_it_says_anything(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "IDLE", 0.2)
    monkeypatch.setattr("localchat.registry.care.examine.first_look", lambda *_: None)
    hub.schedule_metadata(*[Fault(Kind.STALL, seconds=5)] * 3)
    pull.pull(f"hf:{REPO}", fetching.places, offline=False, watcher=Quiet())
    assert fetching.final.read_bytes() == CONTENT
    asked = [request.path.split("/")[1] for request in hub.requests]
    assert asked == ["api", "api", "api", "api", "owner", "owner"], "nobody waited for an answer"


def test_a_range_is_ignored(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), Fault(Kind.RANGE_IGNORED))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, 0]


def test_another_range_comes(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), Fault(Kind.WRONG_RANGE, by=5))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF + 5, 0]
    assert hub.requests[-1].range is None, "who can't serve ranges is asked for everything"


def test_other_ranges_only(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.WRONG_RANGE, by=5))
    with pytest.raises(NetworkNeeded, match="the server sent another part than was asked for"):
        fetching.run()
    assert fetching.partial.read_bytes() == CONTENT[:HALF]


def test_a_server_says_that_the_file_is_packed(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), Fault(Kind.GZIP))
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF, HALF]
    assert {request.headers["accept-encoding"] for request in hub.requests} == {"identity"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_hub_that_is_busy(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=slept.append))
    busy = Fault(Kind.STATUS, status=status, retry_after=7)
    hub.schedule_metadata(busy)
    hub.schedule(busy, Fault(Kind.FIN, at=HALF), Fault(Kind.STATUS, status=status, retry_after=999))
    fetching.run()
    fetching.check()
    assert slept == [7.0, 7.0, 0.0, 120.0]
    assert fetching.notes == [
        f"The hub answered {status}; trying again in 7 s …",
        f"The server answered {status}; trying again in 7 s …",
        f"The server answered {status}; trying again in 120 s …",
    ]


def test_pauses_grow_until_something_comes(
    hub: Hub, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setattr(patience, "PAUSE", 1.0)
    none, some = Fault(Kind.FIN), Fault(Kind.FIN, at=9)
    hub.schedule(none, none, some, *[none] * 4, some)
    fetching.run()
    assert slept == [1, 2, 1, 2, 4, 8, 16, 1]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(Kind.FIN), "the server broke off its answer"),
        (Fault(Kind.STATUS, status=503), "the server answered 503"),
        (Fault(Kind.GZIP), "the server packed the file"),
    ],
)
def test_a_source_that_fails_again_and_again(
    hub: Hub, fetching: Fetching, fault: Fault, reason: str
) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=fault)
    with pytest.raises(NetworkNeeded, match=f"The download broke off: {reason}"):
        fetching.run()
    assert fetching.notes == ["0.4 of 0.7 MB are kept; the next download goes on from there."]
    tries = [request for request in hub.requests if request.method == "GET"]
    assert len(tries) == patience.ATTEMPTS
    hub.schedule()
    fetching.run()
    fetching.check()
    assert fetching.starts[-1] == HALF


# Who is told what


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    return "Bearer hf_mine"


def test_no_token_is_sent_that_was_not_asked_for(
    hub: Hub, fetching: Fetching, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.registry.care.examine.first_look", lambda *_: None)
    pull.pull(f"hf:{REPO}", fetching.places, offline=False, watcher=Quiet())
    assert {request.authorization for request in hub.requests} == {None}

    hub.token = "hf_mine"
    fetching.final.unlink()
    with pytest.raises(NetworkNeeded, match=f"The makers of {REPO} grant access on request only"):
        fetching.run()
    with pytest.raises(NetworkNeeded, match="The server denies the file"):
        fetching.run(at_address(hub), token=True)
    assert {request.authorization for request in hub.requests} == {None}


def test_the_token_is_not_sent_to_another_origin(hub: Hub, fetching: Fetching, token: str) -> None:
    hub.cdn = True
    hub.token = "hf_mine"
    hub.schedule(Fault(Kind.FIN, at=HALF))
    fetching.run(token=True)
    fetching.check()
    told = {(request.port, request.authorization) for request in hub.requests}
    ports = [urlsplit(url).port for url in (hub.url, hub.cdn_url)]
    assert told == {(ports[0], token), (ports[1], None)}
    # The content network's own name of the file, not the hub's.
    assert hub.requests[-1].if_range not in (None, ETAG)
    assert fetching.starts == [0, HALF]


@pytest.mark.usefixtures("fetching", "token")
def test_nobody_is_told_what_is_done_with_the_library(
    hub: Hub, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = tiny()
    hub.add("owner/tiny", "tiny.Q8_0.gguf", model)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "localchat.cli.main", "pull", "owner/tiny:Q8_0"],
        env=os.environ | {"HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == model.read_bytes()
    assert {request.path.split("/")[1] for request in hub.requests} == {"api", "owner"}
    assert {request.path.split("/")[2] for request in hub.requests} == {"models", "tiny"}
    assert {request.authorization for request in hub.requests} == {None}
