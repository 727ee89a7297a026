"""Conversations as rows of a batch."""

from __future__ import annotations

from typing import Any

import pytest

from localchat.store.formats import batch
from localchat.store.records import NewConversation, NewMessage, Outcome
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say


def row(store: Store, conversation: str) -> Any:
    return batch.to_json(store.conversation(conversation), store.path(conversation))


def test_the_last_question_is_asked_again(store: Store, say: Say) -> None:
    first = say(None, "Sky?", "Blue.", system="Be brief.")
    say(first.conversation, "At night?", "Black.")
    assert row(store, first.conversation) == {
        "custom_id": first.conversation,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Sky?"},
                {"role": "assistant", "content": "Blue."},
                {"role": "user", "content": "At night?"},
            ]
        },
    }


def test_a_reply_that_failed_is_no_turn(store: Store, say: Say) -> None:
    turn = say(None, "Sky?", "")
    failed = store.start_turn(turn.conversation, "Please?", provenance=PROVENANCE)
    store.finish(failed.reply, "", "", Outcome("failed", error="No."))
    messages = row(store, turn.conversation)["body"]["messages"]
    assert messages == [{"role": "user", "content": "Sky?\n\nPlease?"}]


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (
            {"model": "m", "reasoning": "off", "sampling": {"temperature": 0, "top_k": 3}},
            {"model": "m", "temperature": 0, "top_k": 3},
        ),
        ({"model": 3, "sampling": {"temperature": "hot", "evil": 1}}, {}),
        ({"sampling": [1]}, {}),
    ],
)
def test_it_is_asked_with_the_values_of_the_conversation(
    store: Store, settings: dict[str, Any], values: dict[str, Any]
) -> None:
    new = NewConversation((NewMessage("user", "Sky?"),), settings=settings)
    (id_,) = store.add([new])
    assert id_ is not None
    body = row(store, id_)["body"]
    del body["messages"]
    assert body == values


def test_where_the_user_has_said_nothing_there_is_no_row(store: Store) -> None:
    new = NewConversation((NewMessage("system", "Be."), NewMessage("assistant", "Hello.", 0)))
    (id_,) = store.add([new])
    assert id_ is not None
    assert row(store, id_) is None
