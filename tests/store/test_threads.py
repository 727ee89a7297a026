"""One store for all threads of a process: a chat screen has several replies at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from localchat.errors import HistoryFailed
from localchat.paths import Paths
from localchat.store.records import Outcome
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say

THREADS = 6
TURNS = 12


def test_threads_write_and_read_at_once(store: Store, places: Paths) -> None:
    together = threading.Barrier(THREADS)

    def chat(name: int) -> list[str]:
        together.wait()
        conversation = None
        said: list[str] = []
        for number in range(TURNS):
            asked, answer = f"Question {name} {number}", f"Answer {name} {number}"
            turn = store.start_turn(conversation, asked, provenance=PROVENANCE)
            conversation = turn.conversation
            store.checkpoint(turn.reply, answer[:4])
            assert store.path(conversation)[-1].content == answer[:4]
            assert conversation in {one.conversation.id for one in store.newest(THREADS)}
            store.finish(turn.reply, answer, "", Outcome("complete"))
            said += asked, answer
        assert [one.content for one in store.path(turn.conversation)] == said
        return said

    with ThreadPoolExecutor(THREADS) as pool:
        said = [text for each in pool.map(chat, range(THREADS)) for text in each]
    with Store.open(places) as other:
        paths = [other.path(one.conversation.id) for one in other.newest(100)]
    found = [(one.content, one.state) for path in paths for one in path]
    assert sorted(found) == sorted((text, "complete") for text in said)


def test_a_thread_that_comes_after_the_end_writes_nothing(store: Store, say: Say) -> None:
    turn = say(None, "Hello")
    store.close()
    for late in (
        lambda: store.path(turn.conversation),
        lambda: store.rename(turn.conversation, "Late"),
        lambda: store.purge(0.0),
        lambda: store.check(),
    ):
        with pytest.raises(HistoryFailed, match="closed"):
            late()
