from __future__ import annotations

from collections.abc import Callable

import pytest

from localchat.errors import LocalchatError
from localchat.tui.chats.deletions import Deletion, Deletions


class Shelf:
    """Things that are there, out of sight, or gone for good."""

    def __init__(self, *things: str) -> None:
        self.seen = set(things)
        self.there = set(things)
        self.deletions = Deletions()

    def put_off(self, thing: str, *, trouble: Exception | None = None) -> Deletion:
        self.seen.discard(thing)

        def carry_out() -> None:
            if trouble is not None:
                raise trouble
            self.there.discard(thing)

        deletion = Deletion(thing, carry_out, lambda: self.seen.add(thing))
        self.deletions.add(deletion)
        return deletion


def test_the_last_is_brought_back_first() -> None:
    shelf = Shelf("a", "b")
    first, second = shelf.put_off("a"), shelf.put_off("b")
    assert shelf.deletions.undo() is second
    assert shelf.seen == {"b"}
    assert shelf.deletions.undo() is first
    assert shelf.deletions.undo() is None
    assert shelf.seen == shelf.there == {"a", "b"}


def test_what_was_undone_is_not_carried_out() -> None:
    shelf = Shelf("a")
    deletion = shelf.put_off("a")
    shelf.deletions.undo()
    shelf.deletions.carry_out(deletion)
    shelf.deletions.carry_out_all()
    assert shelf.there == {"a"}


def test_what_was_carried_out_is_not_undone_or_carried_out_again() -> None:
    shelf = Shelf("a", "b")
    deletion = shelf.put_off("a")
    shelf.deletions.carry_out(deletion)
    assert shelf.deletions.undo() is None
    shelf.there.add("a")
    shelf.deletions.carry_out(deletion)
    assert (shelf.seen, shelf.there) == ({"b"}, {"a", "b"})


@pytest.mark.parametrize("trouble", [LocalchatError("It is busy."), OSError("It is full.")])
def test_what_can_not_be_deleted_is_in_sight_again(trouble: Exception) -> None:
    shelf = Shelf("a")
    deletion = shelf.put_off("a", trouble=trouble)
    with pytest.raises(type(trouble)):
        shelf.deletions.carry_out(deletion)
    assert shelf.seen == {"a"}
    assert shelf.deletions.undo() is None


@pytest.mark.parametrize("trouble", [LocalchatError("It is busy."), OSError("It is full.")])
def test_one_that_fails_does_not_keep_the_others(trouble: Exception) -> None:
    shelf = Shelf("a", "b", "c")
    shelf.put_off("a")
    shelf.put_off("b", trouble=trouble)
    shelf.put_off("c")
    shelf.deletions.carry_out_all()
    assert shelf.there == {"b"}


def test_what_could_not_be_undone_yet_can_be_later() -> None:
    busy: list[Callable[[], None]] = []

    def undo() -> None:
        if not busy:
            busy.append(undo)
            raise LocalchatError("A reply is being written.")

    deletions = Deletions()
    deletion = Deletion("it", lambda: None, undo)
    deletions.add(deletion)
    with pytest.raises(LocalchatError):
        deletions.undo()
    assert deletions.undo() is deletion
