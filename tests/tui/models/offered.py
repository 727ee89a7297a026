"""A catalogue with one model, `little`, that a hub on this machine has."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.sources import patience
from tests.registry.conftest import Sample
from tests.registry.hub import Hub

REPO = "Maker/Little-GGUF"
FILE = "little-Q4_K_M.gguf"
CONTENT = b"GGUF" + random.Random(5).randbytes(900_000)
SIZE = len(CONTENT)
DIGEST = sha256(CONTENT).hexdigest()


class Offered:
    """`hub` may be made slow, or faulty."""

    def __init__(self, hub: Hub, sample: Sample) -> None:
        self.hub = hub
        self.places: Paths = sample.places
        self.final = installed.location(DIGEST, sample.places)
        self.partial = self.final.with_suffix(".partial")
        hub.add(REPO, FILE, CONTENT)
        for manifest in sample.catalog.iterdir():
            manifest.unlink()
        sample.add_manifest(
            "little",
            'name = "little"\nfamily = "Little"\nlicence = "MIT"\naliases = ["wee"]',
            "parameters = 1_000_000\ncontext_length = 2048",
            f'[[files]]\nquantization = "Q4_K_M"\nsize = {SIZE}\nsha256 = "{DIGEST}"',
            f'[[files.sources]]\ntype = "hub"\nrepo = "{REPO}"\nfile = "{FILE}"',
            f'revision = "{hub.commit(REPO)}"',
        )

    @property
    def starts(self) -> list[int]:
        """Where each body began that the hub sent."""
        return [body.start for body in self.hub.bodies]


@pytest.fixture
def offered(at_hub: Hub, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> Offered:
    monkeypatch.setattr(patience, "PAUSE", 0.0)
    return Offered(at_hub, sample)
