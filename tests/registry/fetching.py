"""What the tests of the download share: a file on the fake hub, and someone who fetches it."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from localchat.paths import Paths
from localchat.registry import download, installed
from localchat.registry.catalogue.manifest import HubSource, Source, UrlSource
from localchat.registry.download import Wanted
from localchat.registry.sources import patience
from tests.registry.hub import Hub

REPO = "owner/model-GGUF"
NAME = "model.Q4_K_M.gguf"
CONTENT = random.Random(4).randbytes(700_003)
SIZE = len(CONTENT)
DIGEST = sha256(CONTENT).hexdigest()
ETAG = f'"{DIGEST}"'


class Fetching:
    """Fetches `CONTENT`, and remembers what it was told."""

    def __init__(self, hub: Hub, places: Paths) -> None:
        self.hub = hub
        self.places = places
        self.final = installed.location(DIGEST, places)
        self.partial = self.final.with_suffix(".partial")
        self.notes: list[str] = []
        self.seen: list[int] = []
        hub.add(REPO, NAME, CONTENT)

    def progress(self, done: int, total: int) -> None:
        assert total == SIZE
        self.seen.append(done)

    def note(self, text: str) -> None:
        if "HF_ENDPOINT" not in text:  # said each time, and rightly
            self.notes.append(text)

    @property
    def source(self) -> HubSource:
        return HubSource(repo=REPO, file=NAME, revision=self.hub.commit(REPO))

    def run(self, *sources: Source, token: bool = False) -> str | None:
        """What `download.fetch` returns; from the hub where no source is given."""
        wanted = Wanted(SIZE, DIGEST, sources or (self.source,))
        return download.fetch(wanted, self.places, self, token=token)

    def left(self) -> set[str]:
        """What is in the models folder, by the ends of the names."""
        return {path.name.removeprefix(DIGEST) for path in self.places.models.iterdir()}

    def check(self) -> None:
        """The file is there and right, and nothing else is."""
        assert self.final.read_bytes() == CONTENT
        assert self.left() == {".gguf", ".chunks", ".lock"}

    @property
    def starts(self) -> list[int]:
        """Where each body began that the hub sent."""
        return [body.start for body in self.hub.bodies]


def at_address(hub: Hub, name: str = NAME) -> UrlSource:
    """The file as one that is served at an address, by something that knows no hub."""
    return UrlSource(url=hub.location(REPO, name))


@pytest.fixture
def fetching(hub: Hub, places: Paths, monkeypatch: pytest.MonkeyPatch) -> Fetching:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    return Fetching(hub, places)
