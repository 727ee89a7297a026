"""What the tests of the store share: an open store, and turns that are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from localchat.paths import Paths
from localchat.store.records import Outcome, Provenance, Turn
from localchat.store.store import Store

PROVENANCE = Provenance(
    model="smollm2-135m",
    model_sha256="a" * 64,
    template_sha256="b" * 64,
    engine_build="0.3.36",
    params={"temperature": 0.7, "stop": ["\n"], "json_schema": None},
)

Say = Callable[..., Turn]


@pytest.fixture
def store(places: Paths) -> Iterator[Store]:
    with Store.open(places) as opened:
        yield opened


@pytest.fixture
def say(store: Store) -> Say:
    """Takes a whole turn: what the user says, and what the model answers."""

    def turn(conversation: str | None, content: str, answer: str = "Yes.", **where: object) -> Turn:
        made = store.start_turn(conversation, content, provenance=PROVENANCE, **where)  # type: ignore[arg-type]
        store.finish(made.reply, answer, "", Outcome("complete", "stop", 1))
        return made

    return turn
