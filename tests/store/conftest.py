"""What the tests of the store share: an open store, turns that are over, a file to be harmed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localchat.paths import Paths, make_private
from localchat.store.connection import connect, every
from localchat.store.records import Outcome, Provenance, StoredMessage, Turn
from localchat.store.store import Store

PROVENANCE = Provenance(
    model="smollm2-135m",
    model_sha256="a" * 64,
    template_sha256="b" * 64,
    engine_build="0.3.36",
    params={"temperature": 0.7, "stop": ["\n"], "json_schema": None},
)

Say = Callable[..., Turn]
Contents = dict[str, list[StoredMessage]]
"""The messages of each conversation."""


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


def contents(store: Store) -> Contents:
    return {one.conversation.id: store.tree(one.conversation.id) for one in store.newest(1000)}


def merge(places: Paths) -> None:
    """Moves all of the log into the file."""
    connection = connect(places.history)
    every(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for name in ("-wal", "-shm"):
        Path(f"{places.history}{name}").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """A history of some 60 pages, all merged into its file: no store has it open."""
    base = tmp_path_factory.mktemp("example")
    places = Paths(*(base / part for part in ("config", "data", "cache", "state", "run")))
    with Store.open(places) as store:
        rng = random.Random(1)
        for number in range(12):
            turn = None
            for _ in range(6):
                words = " ".join(f"w{rng.randrange(500)}" for _ in range(rng.choice([5, 40, 2000])))
                turn = store.start_turn(
                    turn.conversation if turn else None,
                    f"Question {number} {words}",
                    system="Be brief." if turn is None else None,
                    provenance=PROVENANCE,
                )
                store.finish(turn.reply, f"Answer {words}", "Thought", Outcome("complete", "stop"))
        found = contents(store)
    merge(places)
    return places.history, found


@pytest.fixture
def filled(places: Paths, example: tuple[Path, Contents]) -> Contents:
    """What is in this test's history: a copy of the example."""
    make_private(places.data)
    shutil.copy(example[0], places.history)
    return example[1]
