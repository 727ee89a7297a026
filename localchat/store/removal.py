"""Deleting conversations, or some of one, with all that is kept of them.

That is also what engines saved, or may yet save. The saved states go first: whoever is killed in
between can delete again what is still in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localchat import snapshot_files
from localchat.paths import Paths
from localchat.store.records import Conversation, Listed
from localchat.store.store import Store

_PAGE = 500


class Removed(NamedTuple):
    conversations: int
    snapshots: int
    freed: int
    """Bytes of the disk."""


def delete(store: Store, ids: Sequence[str], paths: Paths) -> Removed:
    """Raises what `Store.delete` raises, OSError if a saved state can't be removed."""
    store.delete(())  # whether it may be written: before anything is gone
    snapshots = snapshot_files.forget(paths.snapshots, ids)
    return Removed(store.delete(ids), len(snapshots), sum(one.size for one in snapshots))


def delete_message(store: Store, message: int, paths: Paths) -> None:
    """With all that comes after it. Raises what `Store.delete_message` raises, OSError.

    What engines saved of the conversation has its words, and what they may yet save: from now on
    it is saved no more.
    """
    store.delete(())
    snapshot_files.forget(paths.snapshots, [store.message(message).conversation])
    store.delete_message(message)


def purge(store: Store, before: float, paths: Paths) -> Removed:
    """Deletes the conversations last updated before then, and gives the room back.

    Raises the same.
    """
    store.delete(())
    ids = [one.conversation.id for one in older(store, before)]
    snapshots = snapshot_files.forget(paths.snapshots, ids)
    size = store.stats().size
    deleted = store.purge(before)
    freed = max(0, size - store.stats().size) + sum(one.size for one in snapshots)
    return Removed(deleted, len(snapshots), freed)


def older(store: Store, before: float) -> list[Listed]:
    """The conversations last updated before then, newest first."""
    found: list[Listed] = []
    # In the list these follow one that was updated just then and whose id is behind all others.
    last = Conversation("g", "", False, before, before, None, {})
    while page := store.newest(_PAGE, last):
        found += page
        last = page[-1].conversation
    return found
