"""Lines of messages as OpenAI's API takes them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.store.formats import openai
from localchat.store.formats.reading import Format, Unread, read
from localchat.store.merging import Taken, take_in
from localchat.store.records import NewConversation, Outcome, StoredMessage
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def parse(*values: Any, format_: Format = "auto") -> list[NewConversation | Unread]:
    return [*read(io.BytesIO("\n".join(map(json.dumps, values)).encode()), format_)]


def told(found: NewConversation | Unread) -> list[tuple[str, str, int | None]]:
    assert isinstance(found, NewConversation), found
    return [(one.role, one.content, one.parent) for one in found.messages]


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1))
@settings(max_examples=50, deadline=None)
def test_a_round_trip_keeps_roles_and_texts(said: list[tuple[Any, str]]) -> None:
    path = [
        StoredMessage(n, "c", n - 1 if n else None, role, text, "", 1.0, "complete")
        for n, (role, text) in enumerate(said)
    ]
    (found,) = parse(openai.to_json(path))
    assert [one[:2] for one in told(found)] == said
    assert [one[2] for one in told(found)] == [None, *range(len(said) - 1)]


def test_only_the_path_is_told_and_no_failure(store: Store, say: Say) -> None:
    turn = say(None, "Hi", "One", system="Be.")
    store.regenerate(turn.reply, PROVENANCE)
    failed = store.start_turn(turn.conversation, "More", provenance=PROVENANCE, parent=turn.reply)
    store.finish(failed.reply, "", "", Outcome("failed", error="No."))
    assert openai.to_json(store.path(turn.conversation)) == {
        "messages": [
            {"role": "system", "content": "Be."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "One"},
            {"role": "user", "content": "More"},
        ]
    }


def test_parts_tools_and_other_names() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    (found,) = parse(
        {
            "messages": [
                {"role": "developer", "content": "Be."},
                {"role": "user", "content": [{"type": "text", "text": "What?"}, image]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "tool_call_id": "1", "content": "42"},
                {"role": "assistant", "content": "42.", "weight": 1},
            ],
            "tools": [],
        }
    )
    assert told(found) == [
        ("system", "Be.", None),
        ("user", "What?\n\n[image]", 0),
        ("assistant", "42.", 1),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"messages": []}, "has no message of a user or an assistant"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "has no message of a user or an"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "has a message of an unknown role"),
        ({"messages": [{"content": "x"}]}, "can't be understood at messages.0.role"),
        ({"messages": "x"}, "can't be understood at messages"),
        ({"prompt": "x"}, "is in no format that can be imported"),
        ([], "is in no format that can be imported"),
    ],
)
def test_what_is_no_conversation_is_named(value: Any, reason: str) -> None:
    good = {"messages": [{"role": "user", "content": "Hi"}]}
    _, bad, last = parse(good, value, good)
    assert isinstance(last, NewConversation)
    assert isinstance(bad, Unread)
    assert (bad.number, bad.reason[: len(reason)]) == (2, reason)


def test_two_alike_are_two_but_no_more_the_next_time(store: Store) -> None:
    line = {"messages": [{"role": "user", "content": "Hi"}]}
    became = [*take_in(store, parse(line, line))]
    assert [isinstance(one, Taken) and one.id is not None for one in became] == [True, True]
    store.start_turn(store.newest()[0].conversation.id, "It goes on", provenance=PROVENANCE)
    assert [*take_in(store, parse(line, line))] == [Taken(None), Taken(None)]


def test_a_format_that_was_named_is_taken_at_its_word() -> None:
    line = {"messages": [{"role": "user", "content": "Hi"}]}
    (found,) = parse(line, format_="chatgpt")
    assert isinstance(found, Unread)
