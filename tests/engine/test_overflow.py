from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localchat.engine.overflow import (
    drop_oldest,
    reply_room,
    summary_room,
    summary_step,
)
from localchat.errors import ContextOverflow
from localchat.shortened import Messages, with_summary
from localchat.types import Message, Role

SYSTEM = Message("system", "s")
CONVERSATION = (
    SYSTEM,
    Message("user", "u1"),
    Message("assistant", "a1"),
    Message("user", "u2"),
    Message("assistant", "a2"),
    Message("user", "u3"),
)
ROLES: list[Role] = ["system", "user", "assistant"]
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(ROLES), st.text("ab ", max_size=9)), max_size=12
).map(tuple)


def count(messages: Messages) -> int:
    return sum(2 + len(message.content) for message in messages)


def test_a_conversation_that_fits_stays_whole() -> None:
    kept = drop_oldest(CONVERSATION, count, count(CONVERSATION))
    assert (kept.messages, kept.dropped) == (CONVERSATION, ())


def test_the_oldest_turns_go_first_and_whole() -> None:
    kept = drop_oldest(CONVERSATION, count, count(CONVERSATION) - 1)
    assert kept.dropped == (1, 2)
    assert kept.messages == (SYSTEM, *CONVERSATION[3:])
    assert drop_oldest(CONVERSATION, count, 7).dropped == (1, 2, 3, 4)


def test_system_messages_and_the_last_turn_are_never_dropped() -> None:
    between, after = Message("system", "t"), Message("assistant", "a3")
    messages = (*CONVERSATION[:3], between, *CONVERSATION[3:], after)
    kept = drop_oldest(messages, count, 14)
    assert kept.messages == (SYSTEM, between, *messages[-2:])
    with pytest.raises(ContextOverflow, match=r"has 14 tokens.*room for 13") as raised:
        drop_oldest(messages, count, 13)
    assert raised.value.hint


def test_what_comes_before_the_first_user_goes_with_its_turn() -> None:
    messages = (Message("assistant", "hello"), *CONVERSATION[1:])
    assert drop_oldest(messages, count, count(messages) - 1).dropped == (0, 1, 2)


@pytest.mark.parametrize("messages", [(), (SYSTEM,), (SYSTEM, Message("assistant", "a"))])
def test_a_conversation_without_a_turn_to_drop_fails(messages: Messages) -> None:
    with pytest.raises(ContextOverflow):
        drop_oldest(messages, count, -1)


@given(MESSAGES, st.integers(0, 120))
def test_as_few_turns_as_possible_are_dropped(messages: Messages, limit: int) -> None:
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    try:
        kept = drop_oldest(messages, count, limit)
    except ContextOverflow:
        last = users[-1] if len(users) > 1 else 0
        least = [m for i, m in enumerate(messages) if i >= last or m.role == "system"]
        assert count(tuple(least)) > limit or not any(m.role != "system" for m in messages)
        return
    assert count(kept.messages) <= limit
    gone = set(kept.dropped)
    assert kept.messages == tuple(m for i, m in enumerate(messages) if i not in gone)
    assert all(messages[index].role != "system" for index in gone)
    if not gone:
        return
    rest = [i for i, m in enumerate(messages) if m.role != "system" and i not in gone]
    assert max(gone) < min(rest)
    assert messages[rest[0]].role == "user"
    starts = [0, *users[1:]]
    previous = max(start for start in starts if start <= max(gone))
    one_less = tuple(m for i, m in enumerate(messages) if i not in gone or i >= previous)
    assert count(one_less) > limit


def test_a_count_that_does_not_fall_with_every_turn_is_lived_with() -> None:
    turns = tuple(Message("user", str(index)) for index in range(8))
    sizes = {8: 9, 7: 5, 6: 5, 5: 5, 4: 9, 3: 5, 2: 5, 1: 5}
    kept = drop_oldest(turns, lambda messages: sizes[len(messages)], 5)
    assert sizes[len(kept.messages)] <= 5


def test_the_reply_gets_a_quarter_of_the_context_or_what_it_may_take() -> None:
    assert reply_room(8192, None) == 2048
    assert reply_room(8192, 100) == 100
    assert reply_room(8192, 100_000) == 4096


def test_what_fits_is_summarised_in_one_step() -> None:
    step = summary_step(CONVERSATION[1:5], None, count, 10_000)
    assert step.rest == ()
    assert [message.role for message in step.request] == ["system", "user"]
    for text in ("User: u1", "Assistant: a1", "User: u2", "Assistant: a2"):
        assert text in step.request[1].content


@given(
    st.lists(st.text("abc", max_size=60), min_size=1, max_size=6), st.integers(1, 20), st.booleans()
)
@example(["abc" * 20, "a"], 7, False)
@example(["abc" * 20, "a"], 7, True)
def test_a_long_part_is_summarised_in_pieces_and_nothing_is_left_out(
    contents: list[str], room: int, begun: bool
) -> None:
    dropped = tuple(Message("user", content) for content in contents)
    limit = count(summary_step((Message("user", ""),), "SUMMARY", count, 10_000).request) + room
    asked, rest, previous = "", dropped, "SUMMARY" if begun else None
    while rest:
        step = summary_step(rest, previous, count, limit)
        assert count(step.request) <= limit
        text = step.request[1].content
        assert (f"{previous}\n" in text) == (previous is not None)
        asked += "".join(re.findall(r"User: ([abc]*)", text))
        assert len(rest) > len(step.rest) or len(rest[0].content) > len(step.rest[0].content)
        rest, previous = step.rest, "SUMMARY"
    assert asked == "".join(contents)


def test_a_limit_too_small_for_any_summary_fails() -> None:
    with pytest.raises(ContextOverflow, match="room for 20 tokens") as raised:
        summary_step(CONVERSATION[1:], None, count, 20)
    assert raised.value.hint
    assert 0 < summary_room(8192) < reply_room(8192, None)


def test_a_summary_ends_the_system_message() -> None:
    messages = with_summary(CONVERSATION, (1, 2), "They met.")
    assert messages[0].role == "system"
    assert messages[0].content.startswith("s\n\n")
    assert messages[0].content.endswith("They met.")
    assert messages[1:] == CONVERSATION[3:]


def test_a_summary_is_a_system_message_where_there_is_none() -> None:
    messages = with_summary(CONVERSATION[1:], (0, 1), "They met.")
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0].content.endswith("They met.")
