from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from localchat.errors import UsageError
from localchat.events import Failed, Finished, Rendered, Trimmed
from localchat.paths import Paths
from localchat.store.records import StoredMessage
from localchat.store.store import Store
from localchat.tui.chats.chat import Chat
from localchat.types import Timings, Usage
from tests.conftest import wait_until
from tests.tui.chats.talking import Table, said


@pytest.fixture
def table(places: Paths) -> Iterator[Table]:
    table = Table(places)
    yield table
    table.chats.close()


@pytest.fixture(params=[False, True], ids=["kept", "private"])
def chat(table: Table, request: pytest.FixtureRequest) -> Chat:
    return table.chats.new(is_private=request.param)


def reply_with(table: Table, chat: Chat, usage: Usage, decode: float) -> None:
    chat.send("Hello")
    table.client.event(Finished("", "stop", usage, Timings(0.0, 0.5, decode), 7))
    table.end(chat)


def test_branches(table: Table, chat: Chat) -> None:
    table.take_turn(chat, "One", "First.")
    chat.regenerate()
    table.client.give("Second.")
    table.client.finish()
    table.end(chat)
    assert said(chat) == ["One", "Second."]
    first, second = chat.alternatives[chat.messages[-1].id]
    chat.show_sibling(first)
    assert said(chat) == ["One", "First."]
    assert chat.message(second).content == "Second."
    chat.edit(chat.messages[0].id, "Uno")
    table.client.give("Primero.")
    table.client.finish()
    table.end(chat)
    assert said(chat) == ["Uno", "Primero."]
    chat.go_back(chat.messages[0].id)
    assert (said(chat), chat.last_reply) == (["Uno"], None)
    chat.show_sibling(second)
    chat.delete(second)
    assert said(chat) == ["One", "First."]
    chat.go_back(None)
    assert said(chat) == []


def test_a_reply_can_be_written_anew_and_gone_on_with(table: Table, chat: Chat) -> None:
    table.take_turn(chat, "One", "First.")
    table.client.give(" And more.")
    table.client.finish()
    chat.edit(chat.messages[-1].id, "Mine.")
    table.end(chat)
    assert said(chat) == ["One", "Mine. And more."]


def test_its_title_is_what_was_said_first(table: Table, chat: Chat) -> None:
    assert (chat.title, chat.last_reply) == ("New chat", None)
    table.take_turn(chat, "Why is the sky blue?")
    table.take_turn(chat, "And red?")
    assert chat.title == "Why is the sky blue?"
    chat.rename("Colours")
    assert chat.title == ("Why is the sky blue?" if chat.is_private else "Colours")


def test_it_is_found_by_its_key(table: Table, chat: Chat, places: Paths) -> None:
    assert chat.key == ("incognito-1" if chat.is_private else None)
    table.take_turn(chat)
    with Store.open(places) as store:
        kept = store.newest()
    if chat.is_private:
        assert (chat.key, chat.id, kept) == ("incognito-1", None, [])
    else:
        assert chat.key == chat.id == kept[0].conversation.id


def test_how_much_of_the_context_is_used(table: Table, chat: Chat) -> None:
    assert (chat.context, chat.context_used) == (0, 0)
    reply_with(table, chat, Usage(100, 0, 20), 1.0)
    assert (chat.context, chat.context_used, chat.quantization) == (8192, 120, "Q4_1")
    chat.send("More")
    wait_until(lambda: chat.live is not None)
    assert chat.context_used == 120  # as far as is known
    table.client.prefill(50, 140)
    table.client.give("a", 7)
    wait_until(lambda: chat.live and chat.live.tokens)
    assert chat.context_used == 147
    table.client.die()
    table.end(chat)
    assert chat.context_used == 120


@pytest.mark.parametrize(
    ("tokens", "decode", "rate"), [(21, 2.0, 10), (1, 2.0, None), (0, 2.0, None), (5, 0.0, None)]
)
def test_the_rate_of_the_last_reply(
    table: Table, chat: Chat, tokens: int, decode: float, rate: float | None
) -> None:
    assert chat.last_rate is None
    reply_with(table, chat, Usage(100, 0, tokens), decode)
    assert chat.last_rate == rate


def test_there_is_no_rate_of_a_reply_that_did_not_end(table: Table, chat: Chat) -> None:
    chat.send("Hello")
    table.client.give("a", 40)
    table.client.die()
    table.end(chat)
    assert chat.last_rate is None


def test_what_the_model_was_not_shown(table: Table, chat: Chat) -> None:
    assert chat.trimmed is None
    table.take_turn(chat)
    assert chat.trimmed is None
    table.client.event(Trimmed("", (0, 1)))
    table.take_turn(chat)
    assert chat.trimmed is not None
    assert chat.trimmed.dropped == (0, 1)


def test_measured_with_what_may_be_said_next(table: Table, chat: Chat) -> None:
    table.take_turn(chat)
    table.client.event(Rendered("", "the prompt", 30, (4, 5, 6)))
    use = chat.measure("Next")
    assert [cost.words for cost in use.costs] == ["Hello", "Yes.", "Next"]
    assert table.client.requests[-1].render_only
    assert said(chat) == ["Hello", "Yes."]
    assert table.chats.engines.has(chat.settings.model)


def test_measured_while_a_reply_is_written_by_another_client(table: Table, chat: Chat) -> None:
    chat.send("Hello")
    table.client.give("Yes")
    table.wait_for_words(chat)
    table.clients[1].event(Rendered("", "the prompt", 30, (4, 5)))
    assert chat.measure().prompt_tokens == 30
    assert len(table.client.requests) == 1
    chat.stop()
    table.end(chat)


def test_there_is_nothing_to_measure_yet(table: Table, chat: Chat) -> None:
    with pytest.raises(UsageError):
        chat.measure()
    assert table.chats.engines.has(chat.settings.model)


def test_settings_hold_for_the_next_turn_and_are_kept(
    table: Table, chat: Chat, places: Paths
) -> None:
    table.take_turn(chat)
    chat.change(replace(chat.settings, sampling={"temperature": 0.25}, system="Be brief."))
    table.take_turn(chat, "Again")
    asked = table.client.requests[-1]
    assert asked.params.temperature == 0.25
    assert asked.messages[0].content == "Be brief."
    if not chat.is_private:
        with Store.open(places) as store:
            kept = store.conversation(chat.id or "").settings
        assert kept["sampling"]["temperature"] == 0.25


def test_a_failed_turn_of_an_edit_is_taken_back_too(table: Table, chat: Chat) -> None:
    table.take_turn(chat, "One")
    table.client.event(Failed("", "EngineFailed", "No.", None))
    chat.edit(chat.messages[0].id, "Uno")
    table.end(chat)
    assert chat.take_back() == "Uno"
    chat.regenerate()
    table.client.fail("No.")
    table.end(chat)
    assert chat.take_back() is None  # nothing was said


def test_two_threads_that_load_leave_what_was_read_last(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    store = table.chats.history.store()
    path = store.path
    has_read, may_go_on = threading.Event(), threading.Event()

    def slow(conversation: str) -> list[StoredMessage]:
        found = path(conversation)
        if not has_read.is_set():
            has_read.set()
            may_go_on.wait(10)
        return found

    monkeypatch.setattr(store, "path", slow)
    early = threading.Thread(target=chat.load)
    early.start()
    has_read.wait(10)
    store.go_back(chat.id or "", None)
    late = threading.Thread(target=chat.load)
    late.start()
    late.join(0.05)  # it is done by now, or waits
    may_go_on.set()
    early.join()
    late.join()
    assert said(chat) == []
