from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from localchat.errors import ConversationNotFound, LocalchatError
from localchat.paths import Paths
from localchat.store.store import Store
from localchat.tui.chats import chats as module
from localchat.tui.chats.deletions import Deletion
from tests.tui.chats.talking import Table, said


@pytest.fixture
def table(places: Paths) -> Iterator[Table]:
    table = Table(places)
    yield table
    table.chats.close()


def begin(table: Table) -> str:
    """A stored conversation that is not open."""
    chat = table.chats.new()
    table.take_turn(chat)
    assert chat.id is not None
    table.chats.new()
    return chat.id


def test_one_that_is_open_is_opened_once(table: Table) -> None:
    key = begin(table)
    chat = table.chats.open(key)
    assert said(chat) == ["Hello", "Yes."]
    assert table.chats.open(key) is chat
    table.chats.new()
    assert table.chats.open(key) is not chat  # nobody needed it any more


def test_it_is_opened_with_the_settings_it_was_left_with(table: Table) -> None:
    key = begin(table)
    chat = table.chats.open(key)
    chat.change(replace(chat.settings, sampling={"temperature": 0.25}))
    table.chats.new()
    assert table.chats.open(key).settings.sampling["temperature"] == 0.25
    assert "temperature" not in table.chats.new().settings.sampling


def test_what_is_not_there_can_not_be_opened(table: Table) -> None:
    with pytest.raises(ConversationNotFound):
        table.chats.open("0123456789abcdef")


def test_those_that_are_answered_stay_open(table: Table) -> None:
    first = table.chats.new()
    first.send("One")
    table.client.give("Yes")
    table.wait_for_words(first)
    table.chats.new()
    assert table.chats.busy == [first]
    assert table.chats.open(first.id or "") is first
    table.client.finish()
    table.end(first)
    assert table.chats.busy == []


def test_those_whose_reply_nobody_has_seen_stay_open(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    chat.is_unseen = True
    table.chats.new()
    assert table.chats.unseen == [chat]
    assert table.chats.open(chat.id or "") is chat
    chat.is_unseen = False
    table.chats.new()
    assert table.chats.open(chat.id or "") is not chat


def test_those_that_are_kept_nowhere_else_stay_open(table: Table) -> None:
    empty = table.chats.new(is_private=True)
    first = table.chats.new(is_private=True)
    table.take_turn(first)
    second = table.chats.new(is_private=True)
    table.take_turn(second)
    table.chats.new()
    assert table.chats.private == [second, first]
    assert table.chats.open(first.key or "") is first
    assert first.key != second.key
    with pytest.raises(ConversationNotFound):
        table.chats.open(empty.key or "")


def test_another_title_is_that_of_open_ones_too(table: Table) -> None:
    key = begin(table)
    chat = table.chats.open(key)
    table.chats.rename(key, "Greetings")
    assert chat.title == "Greetings"
    table.chats.rename(key, None)
    assert chat.title == "Hello"


def test_what_is_deleted_is_not_opened_again(table: Table, places: Paths) -> None:
    key = begin(table)
    table.chats.open(key)
    table.chats.delete(key)
    with pytest.raises(ConversationNotFound):
        table.chats.open(key)
    with Store.open(places) as store:
        assert store.stats().messages == 0


def test_deleting_ends_a_reply(table: Table) -> None:
    chat = table.chats.new()
    chat.send("One")
    table.client.give("Yes")
    table.wait_for_words(chat)
    table.chats.delete(chat.id or "")
    assert table.chats.busy == []
    assert chat.phase == "idle"
    assert table.chats.history.store().stats().conversations == 0


def test_deleting_one_of_which_nothing_is_kept(table: Table, places: Paths) -> None:
    chat = table.chats.new(is_private=True)
    table.take_turn(chat)
    table.chats.delete(chat.key or "")
    assert table.chats.private == []
    assert not places.history.exists()  # there is nothing to look for in it


def test_closing_keeps_what_came_of_replies(table: Table, places: Paths) -> None:
    for number, client in enumerate(table.clients):
        chat = table.chats.new()
        chat.send(f"Question {number}")
        client.give(f"Half of {number}")
        table.wait_for_words(chat)
    table.chats.close()
    with Store.open(places) as store:
        last = [store.path(one.conversation.id)[-1] for one in store.newest()]
    assert {(one.content, one.state) for one in last} == {
        ("Half of 0", "incomplete"),
        ("Half of 1", "incomplete"),
    }
    assert all(client.is_closed for client in table.clients)


def test_closing_does_not_wait_for_what_does_not_end(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    monkeypatch.setattr(table.client, "cancel", lambda request_id: None)
    chat = table.chats.new()
    chat.send("One")
    table.client.give("Yes")
    table.wait_for_words(chat)
    table.chats.close()
    assert chat.is_busy
    table.client.finish()  # and it can't be stored any more
    table.end(chat)
    assert chat.run is not None
    assert isinstance(chat.run.error, LocalchatError)


def test_closing_while_a_model_is_loaded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    may_go_on = threading.Event()
    table.before_opening = lambda: may_go_on.wait(10)
    chat = table.chats.new()
    chat.send("One")
    table.chats.close()
    may_go_on.set()
    table.end(chat)
    assert table.client.requests == []


def test_what_is_closed_is_not_opened_again(table: Table) -> None:
    key = begin(table)
    table.chats.close()
    with pytest.raises(LocalchatError):
        table.chats.open(key)


def test_closing_carries_out_what_was_deleted(table: Table, places: Paths) -> None:
    key = begin(table)

    def fail() -> None:
        raise OSError("It is full.")

    table.chats.deletions.add(Deletion("it", lambda: table.chats.delete(key), lambda: None))
    table.chats.deletions.add(Deletion("what can't be", fail, lambda: None))
    table.chats.close()
    with Store.open(places) as store:
        assert store.stats().conversations == 0
