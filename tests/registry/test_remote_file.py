"""A file of the hub is read where it is asked for, and nowhere else."""

from __future__ import annotations

import io
import random
from typing import BinaryIO

import pytest

from localchat.errors import NetworkNeeded
from localchat.registry.sources.address import Remote
from localchat.registry.sources.remote_file import BLOCK, open_remote
from tests.conftest import Quiet
from tests.registry.faults import Fault, Kind
from tests.registry.hub import Hub

REPO, NAME = "owner/model-GGUF", "model.gguf"
CONTENT = random.Random(4).randbytes(10 * BLOCK + 7)
SIZE = len(CONTENT)


@pytest.fixture
def file(hub: Hub) -> BinaryIO:
    hub.add(REPO, NAME, CONTENT)
    return open_remote(Remote(hub.location(REPO, NAME)), SIZE, Quiet().note)


def test_opening_asks_for_nothing(hub: Hub, file: BinaryIO) -> None:
    assert hub.sent[NAME] == 0


@pytest.mark.parametrize(
    ("at", "count"), [(0, 1), (0, BLOCK), (3 * BLOCK + 5, 100), (SIZE - 10, 100), (SIZE, 1)]
)
def test_what_is_read_is_what_is_there(hub: Hub, file: BinaryIO, at: int, count: int) -> None:
    assert file.seek(at) == at
    assert file.read(count) == CONTENT[at : at + count]
    assert hub.sent[NAME] <= 2 * BLOCK


def test_a_block_is_asked_for_once(hub: Hub, file: BinaryIO) -> None:
    assert b"".join(file.read(100) for _ in range(BLOCK // 100)) == CONTENT[: BLOCK // 100 * 100]
    assert len(hub.bodies) == 1


def test_all_of_it(file: BinaryIO) -> None:
    assert file.read() == CONTENT
    assert file.seek(-7, io.SEEK_END) == SIZE - 7
    assert file.read() == CONTENT[-7:]


def test_a_connection_that_breaks_off_is_made_anew(hub: Hub, file: BinaryIO) -> None:
    hub.schedule(Fault(Kind.FIN, at=1000))
    assert file.read(BLOCK) == CONTENT[:BLOCK]


def test_a_server_without_ranges_is_of_no_use(hub: Hub, file: BinaryIO) -> None:
    hub.schedule(then=Fault(Kind.RANGE_IGNORED))
    with pytest.raises(NetworkNeeded, match="can't send a part"):
        file.read(BLOCK)
