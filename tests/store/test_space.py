"""A disk without room: a typed error, nothing lost, and on it goes once there is room again."""

from __future__ import annotations

import contextlib
import resource

import pytest

from localchat.errors import OutOfSpace
from localchat.paths import Paths
from localchat.store.records import NewConversation, NewMessage, Outcome
from localchat.store.store import Store
from tests.store.children import Acknowledge, Child
from tests.store.conftest import PROVENANCE
from tests.store.test_file import whole
from tests.store.watched import watched_disk


@pytest.mark.parametrize("room", [0, 1, 5, 20])
def test_a_full_disk_loses_nothing(places: Paths, room: int) -> None:
    with watched_disk() as disk, Store.open(places) as store:
        first = store.start_turn(None, "Before", provenance=PROVENANCE)
        disk.room = room
        with pytest.raises(OutOfSpace) as caught:
            store.checkpoint(first.reply, "long " * 50_000)
        assert caught.value.exit_code == 5
        assert caught.value.hint
        with pytest.raises(OutOfSpace):
            store.add([NewConversation((NewMessage("user", "long " * 50_000),))])
        assert store.message(first.reply).content == ""
        disk.room = None
        store.checkpoint(first.reply, "long " * 50_000)
        store.finish(first.reply, "long", "", Outcome("complete"))
        assert [one.content for one in store.path(first.conversation)] == ["Before", "long"]
        assert store.notes == ()
    whole(places)


def test_no_room_for_a_first_file(places: Paths) -> None:
    with watched_disk() as disk:
        disk.room = 3
        with pytest.raises(OutOfSpace):
            Store.open(places)
        disk.room = None
        assert not places.history.exists()
        Store.open(places).close()
    whole(places)


def test_a_limit_on_files_is_met_as_a_full_disk_is(places: Paths) -> None:
    with Store.open(places) as store:
        turn = store.start_turn(None, "Before", provenance=PROVENANCE)
        store.finish(turn.reply, "Answer", "", Outcome("complete"))

    def fill(acknowledge: Acknowledge) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        with Store.open(places) as store, contextlib.suppress(OutOfSpace):
            while True:
                turn = store.start_turn(None, "word " * 2000, provenance=PROVENANCE)
                acknowledge(turn.user)
        acknowledge("full")

    *asked, (last,) = Child(fill).end()
    assert last == "full"
    with Store.open(places) as store:
        assert [one.content for one in store.path(turn.conversation)] == ["Before", "Answer"]
        for (id_,) in asked:
            assert store.message(int(id_)).content == "word " * 2000
        store.start_turn(None, "After", provenance=PROVENANCE)
        assert store.notes == ()
    whole(places)
