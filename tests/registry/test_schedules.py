"""Downloads through random faults: no wrong byte is taken for a right one, and all get there."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from localchat.errors import NetworkNeeded, VerificationFailed
from localchat.paths import Paths
from localchat.registry import download, installed
from localchat.registry.catalogue.manifest import HubSource
from localchat.registry.download import Wanted
from localchat.registry.sources import patience
from tests.conftest import Quiet
from tests.registry.faults import Kind, random_schedule
from tests.registry.fetching import CONTENT, NAME, REPO
from tests.registry.fetching import fetching as fetching
from tests.registry.hub import Hub

SCHEDULES = 500
PARTS = 5  # so that several processes can share the waiting
KEPT = {".partial", ".resume", ".lock"}


class Strict(Quiet):
    def progress(self, done: int, total: int) -> None:
        assert done <= total, "more than the file has was taken in"


@pytest.mark.usefixtures("fetching")
@pytest.mark.parametrize("part", range(PARTS))
def test_random_faults(hub: Hub, places: Paths, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(patience, "IDLE", 0.1)
    kinds = dict.fromkeys(Kind, 0)
    pulls = 0
    for seed in range(part, SCHEDULES, PARTS):
        draw = random.Random(seed)
        start = draw.randrange(len(CONTENT) - 100_000)
        content = CONTENT[start : draw.randint(start + 100_000, len(CONTENT))]
        digest = hub.add(REPO, NAME, content)
        source = HubSource(repo=REPO, file=NAME, revision=hub.commit(REPO))
        wanted = Wanted(len(content), digest, (source,))
        final = installed.location(digest, places)
        faults = random_schedule(draw, len(content), stall=0.3)
        before = random_schedule(draw, len(content), stall=0.3) if draw.random() < 0.2 else []
        hub.schedule(*faults)
        hub.schedule_metadata(*before)
        # A pull that fails met a fault at least: with none left, it has to succeed.
        for _ in range(len(faults) + len(before) + 1):
            pulls += 1
            try:
                download.fetch(wanted, places, Strict())
                break
            except (NetworkNeeded, VerificationFailed):
                left = {path.name.removeprefix(digest) for path in places.models.iterdir()}
                assert left <= KEPT, f"schedule {seed}"
        assert final.exists(), f"schedule {seed} does not get there"
        assert sha256(final.read_bytes()).hexdigest() == digest, f"schedule {seed}"
        left = {path.name.removeprefix(digest) for path in places.models.iterdir()}
        assert left == {".gguf", ".chunks", ".lock"}, f"schedule {seed}"
        for path in places.models.iterdir():
            path.unlink()
        for fault in faults:
            kinds[fault.kind] += 1
    assert min(kinds[kind] for kind in (Kind.CORRUPT, Kind.SWAPPED, Kind.WRONG_RANGE)) > 50 / PARTS
    assert SCHEDULES < pulls * PARTS < 4 * SCHEDULES
