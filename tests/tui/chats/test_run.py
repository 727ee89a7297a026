"""Runs, by the chat that makes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from localchat.errors import (
    ContextOverflow,
    EngineDied,
    EngineFailed,
    LocalchatError,
    ModelNotFound,
    OutOfSpace,
)
from localchat.paths import Paths
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.run import News
from tests.conftest import wait_until
from tests.tui.chats.talking import Table, said


@pytest.fixture
def table(places: Paths) -> Iterator[Table]:
    table = Table(places)
    yield table
    table.chats.close()


def test_its_phases_follow_each_other(table: Table) -> None:
    may_go_on = threading.Event()
    table.before_opening = lambda: may_go_on.wait(10)
    chat = table.chats.new()
    assert (chat.phase, chat.is_busy, chat.live) == ("idle", False, None)
    chat.send("Hello")
    assert (chat.phase, chat.pending, chat.live) == ("loading", "Hello", None)
    may_go_on.set()
    wait_until(lambda: table.news(chat) == ["began"])
    assert chat.phase == "prefill"
    assert (chat.pending, said(chat)) == (None, ["Hello", ""])
    table.client.prefill(10, 20)
    wait_until(lambda: chat.live and chat.live.prefill == (10, 20))
    assert chat.phase == "prefill"
    table.client.think("Hm")
    wait_until(lambda: chat.phase == "generating")
    table.client.prefill(5, 30)  # taken up again
    wait_until(lambda: chat.phase == "prefill")
    table.client.give("Hi.")
    wait_until(lambda: chat.phase == "generating")
    table.client.finish()
    table.end(chat)
    assert (chat.live, chat.messages[-1].content) == (None, "Hi.")
    assert table.news(chat) == ["began", "ended"]


def test_stopped_while_the_model_is_loaded(table: Table) -> None:
    may_go_on = threading.Event()
    table.before_opening = lambda: may_go_on.wait(10)
    chat = table.chats.new()
    chat.send("Hello")
    chat.stop()
    assert chat.phase == "stopping"
    assert chat.take_back() is None  # it may yet be that something comes
    may_go_on.set()
    table.end(chat)
    assert chat.take_back() == "Hello"
    assert (chat.take_back(), chat.pending) == (None, None)
    assert (table.client.requests, said(chat), table.news(chat)) == ([], [], ["ended"])
    table.take_turn(chat)  # by the client that was loaded


def test_stopped_while_the_turn_is_stored(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = table.chats.new()
    store = table.chats.history.store()
    start_turn = store.start_turn

    def slow(*given: object, **how: object) -> object:
        chat.stop()
        return start_turn(*given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "start_turn", slow)
    phases = []
    tell = table.chats._tell

    def note(of: Chat, news: News) -> None:
        phases.append(of.phase)
        tell(of, news)

    monkeypatch.setattr(chat, "_tell", note)
    chat.send("Hello")
    table.end(chat)
    assert phases[0] == "stopping"
    assert (chat.messages[-1].state, said(chat)) == ("incomplete", ["Hello", ""])
    assert chat.take_back() is None  # it is in the history


@pytest.mark.parametrize("moment", ["before the first event", "prefill", "text"])
def test_stopped_while_it_is_made(table: Table, moment: str) -> None:
    chat = table.chats.new()
    chat.send("Hello")
    if moment == "prefill":
        table.client.prefill(10, 20)
        wait_until(lambda: chat.live and chat.live.prefill)
    elif moment == "text":
        table.client.give("One, two")
        table.wait_for_words(chat)
    else:
        wait_until(lambda: chat.phase == "prefill")
    chat.stop()
    table.end(chat)
    reply = chat.messages[-1]
    assert reply.content == ("One, two" if moment == "text" else "")
    assert (reply.state, reply.generations[-1].finish_reason) == ("incomplete", "cancelled")
    assert chat.run is not None
    assert chat.run.error is None
    assert chat.take_back() is None


def test_it_shows_that_it_is_being_stopped_until_it_has(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table.client, "cancel", lambda request_id: None)
    chat = table.chats.new()
    chat.send("Hello")
    wait_until(lambda: chat.phase == "prefill")
    chat.stop()
    table.client.give("On its way")
    table.wait_for_words(chat)
    assert chat.phase == "stopping"
    table.client.finish()
    table.end(chat)
    assert chat.messages[-1].content == "On its way"


def test_what_has_ended_is_not_stopped_any_more(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    assert chat.run is not None
    chat.run.stop()  # at the same instant
    assert not chat.is_busy


@pytest.mark.parametrize("trouble", [EngineDied("It is gone."), OSError("It is gone.")])
def test_an_engine_that_is_gone_can_not_be_told_to_stop(
    table: Table, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(request_id: str) -> None:
        raise trouble

    monkeypatch.setattr(table.client, "cancel", cancel)
    chat = table.chats.new()
    chat.send("Hello")
    table.client.give("One")
    table.wait_for_words(chat)
    chat.stop()
    table.client.die()
    table.end(chat)
    assert chat.run is not None
    assert isinstance(chat.run.error, EngineDied)
    assert (said(chat), chat.messages[-1].state) == (["Hello", "One"], "incomplete")


@pytest.mark.parametrize(
    ("kind", "error"),
    [("ContextOverflow", ContextOverflow), ("Unheard", EngineFailed), ("Exception", EngineFailed)],
)
def test_what_the_engine_tells_is_an_error_of_that_kind(
    table: Table, kind: str, error: type[LocalchatError]
) -> None:
    chat = table.chats.new()
    chat.send("Hello")
    table.client.fail("It can't be.", "Try less.", kind)
    table.end(chat)
    assert chat.run is not None
    assert type(chat.run.error) is error
    assert (str(chat.run.error), chat.run.error.hint) == ("It can't be.", "Try less.")
    assert chat.messages[-1].state == "failed"
    assert chat.take_back() == "Hello"
    assert chat.take_back() is None


def test_what_came_before_an_error_is_kept_and_nothing_is_taken_back(table: Table) -> None:
    chat = table.chats.new()
    chat.send("Hello")
    table.client.give("One")
    table.client.fail("It can't be.")
    table.end(chat)
    assert said(chat) == ["Hello", "One"]
    assert chat.take_back() is None


@pytest.mark.parametrize("trouble", [ModelNotFound("No model."), OSError("No room.")])
def test_without_an_engine_nothing_is_stored(table: Table, trouble: Exception) -> None:
    def refuse() -> None:
        raise trouble

    table.before_opening = refuse
    chat = table.chats.new()
    chat.send("Hello")
    table.end(chat)
    assert chat.run is not None
    assert isinstance(chat.run.error, LocalchatError)
    assert str(trouble) in str(chat.run.error)
    assert (chat.take_back(), chat.id) == ("Hello", None)
    assert table.chats.history.store().stats().conversations == 0


def test_an_engine_that_is_gone_before_it_is_asked(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: object) -> None:
        table.client.is_gone = True
        raise EngineDied("It is gone.")

    monkeypatch.setattr(table.client, "submit", refuse)
    chat = table.chats.new()
    chat.send("Hello")
    table.end(chat)
    assert (said(chat), chat.pending) == (["Hello", ""], None)
    assert chat.take_back() == "Hello"
    chat.send("Hello again")
    table.clients[1].give("Yes.")
    table.clients[1].finish()
    table.end(chat)
    assert said(chat) == ["Hello again", "Yes."]  # in the same conversation, in its place
    assert table.chats.history.store().stats().conversations == 1


def test_a_client_goes_back_when_its_reply_has_ended(table: Table) -> None:
    chat, other = table.chats.new(), table.chats.new()
    table.take_turn(chat)
    table.take_turn(other)
    assert len(table.client.requests) == 2
    assert table.clients[1].requests == []


def test_what_can_not_be_read_is_told_and_the_reply_goes_on(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = table.chats.new()

    def broken() -> None:
        raise LocalchatError("The disk is gone.")

    load = chat.load
    monkeypatch.setattr(chat, "load", broken)
    table.take_turn(chat)
    assert table.news(chat) == ["began", "ended"]
    assert chat.run is not None
    assert str(chat.run.error) == "The disk is gone."
    load()
    assert said(chat) == ["Hello", "Yes."]


def test_a_reply_that_could_not_be_kept_is_told(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OutOfSpace("The disk is full.")

    monkeypatch.setattr(table.chats.history.store(), "finish", full)
    chat = table.chats.new()
    table.take_turn(chat)
    assert chat.run is not None
    assert isinstance(chat.run.error, OutOfSpace)


def test_goes_on_from_what_was_cut_off(table: Table) -> None:
    chat = table.chats.new()
    chat.send("Count")
    table.client.give("One,")
    table.wait_for_words(chat)
    chat.stop()
    table.end(chat)
    chat.continue_reply()
    wait_until(lambda: chat.live is not None)
    assert chat.live is not None
    assert (chat.live.content, chat.live.tokens) == ("One,", 0)
    table.client.give(" two.")
    table.client.finish()
    table.end(chat)
    assert said(chat) == ["Count", "One, two."]


def test_two_replies_at_once_are_no_way_to_go(table: Table) -> None:
    chat: Chat = table.chats.new()
    chat.send("One")
    with pytest.raises(AssertionError):
        chat.send("Two")
    chat.stop()
    table.end(chat)
