"""What the commands of `localchat history` begin with: the store, and the conversation meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from localchat.cli import output
from localchat.errors import ConversationNotFound
from localchat.paths import Paths
from localchat.store import aside
from localchat.store.records import Conversation
from localchat.store.store import Store

_BEGIN = 'localchat "Why is the sky blue?"'


@contextmanager
def opened(places: Paths) -> Iterator[Store]:
    """The store, made if it is missing. What was done to it is told on stderr."""
    with Store.open(places) as store:
        told = _tell(store, 0)
        try:
            yield store
        finally:
            if store.is_check_due:
                store.check()
            _tell(store, told)


@contextmanager
def existing(places: Paths) -> Iterator[Store | None]:
    """The store; None if there is none yet: to look makes no file."""
    if not places.history.exists() and not aside.is_unfinished(places.history):
        yield None
        return
    with opened(places) as store:
        yield store


def find(store: Store | None, id_: str | None) -> Conversation:
    """The conversation whose id begins so; None or "-": the last.

    Raises ConversationNotFound, AmbiguousId.
    """
    if store is None:
        raise ConversationNotFound("There is no conversation yet.", f"Begin one: {_BEGIN}")
    if id_ is not None and id_ != "-":
        return store.find(id_)
    latest = store.latest()
    if latest is None:
        raise ConversationNotFound("There is no conversation yet.", f"Begin one: {_BEGIN}")
    return latest


def say_none() -> None:
    output.note(f"There is no conversation yet. To begin one: {_BEGIN}")


def _tell(store: Store, told: int) -> int:
    for note in store.notes[told:]:
        output.note(f"Note: {note}")
    return len(store.notes)
