from __future__ import annotations

from collections.abc import Iterator

import pytest

from localchat.paths import Paths
from localchat.session.ephemeral import Ephemeral
from localchat.session.session import Turns
from localchat.store.store import Store


@pytest.fixture
def store(places: Paths) -> Iterator[Store]:
    with Store.open(places) as store:
        yield store


@pytest.fixture
def seen(places: Paths, store: Store) -> Iterator[Store]:
    """What another process sees at this moment."""
    with Store.open(places) as other:
        yield other


@pytest.fixture(params=["stored", "in memory"])
def turns(request: pytest.FixtureRequest) -> Turns:
    """Both kinds of keeping a conversation, which have to do the same."""
    if request.param == "stored":
        found: Turns = request.getfixturevalue("store")
        return found
    return Ephemeral()
