"""ChatGPT's export: what is taken over of its trees, and what is not."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.store.formats.reading import Unread, read
from localchat.store.records import NewConversation, NewMessage

NO_ROOT = "no root"


def node(
    name: str,
    parent: str | None,
    role: str = "user",
    text: str | None = "",
    *,
    message: bool = True,
    **fields: Any,
) -> dict[str, Any]:
    """As the export has it; `children` are filled in by `conversation`."""
    told = {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1_700_000_000.5,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully",
        "weight": 1.0,
        "recipient": "all",
        "metadata": {},
    }
    return {
        "id": name,
        "message": told | fields if message else None,
        "parent": parent,
        "children": [],
    }


ROOT = node("root", None, message=False)


def conversation(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    mapping = {each["id"]: each | {"children": []} for each in nodes}
    for each in nodes:
        if each["parent"] in mapping:
            mapping[each["parent"]]["children"].append(each["id"])
    return {
        "title": "A title",
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0,
        "mapping": mapping,
        "current_node": nodes[-1]["id"],
        "conversation_id": "c-1",
        "moderation_results": [],
    } | fields


def parsed(*nodes: dict[str, Any], **fields: Any) -> NewConversation:
    (found,) = read(io.BytesIO(json.dumps([conversation(*nodes, **fields)]).encode()))
    assert isinstance(found, NewConversation), found
    return found


def told(found: NewConversation) -> list[tuple[str, str, int | None]]:
    return [(one.role, one.content, one.parent) for one in found.messages]


def hidden(name: str, parent: str, role: str, text: str) -> dict[str, Any]:
    return node(name, parent, role, text, metadata={"is_visually_hidden_from_conversation": True})


def test_an_ordinary_conversation() -> None:
    found = parsed(
        ROOT,
        hidden("s", "root", "system", "You are ChatGPT."),
        node("u", "s", text="Hi"),
        node("a", "u", "assistant", "Hello!", metadata={"model_slug": "gpt-4o"}),
    )
    assert told(found) == [("user", "Hi", None), ("assistant", "Hello!", 0)]
    assert (found.title, found.title_is_own, found.source, found.leaf) == (
        "A title",
        True,
        "chatgpt:c-1",
        1,
    )
    assert (found.created, found.updated) == (1_700_000_000.0, 1_700_000_100.0)
    assert [one.created for one in found.messages] == [1_700_000_000.5] * 2
    assert found.messages[1].generations[0].provenance.model == "gpt-4o"
    assert found.messages[0].generations == ()


def test_branches_stay_branches_and_the_current_one_stays_current() -> None:
    found = parsed(
        ROOT,
        node("u", "root", text="Hi"),
        node("a1", "u", "assistant", "One"),
        node("a2", "u", "assistant", "Two"),
        node("e", "root", text="Hi again"),
        node("b", "e", "assistant", "Three"),
        current_node="a1",
    )
    assert told(found) == [
        ("user", "Hi", None),
        ("assistant", "One", 0),
        ("assistant", "Two", 0),
        ("user", "Hi again", None),
        ("assistant", "Three", 3),
    ]
    assert found.leaf == 1


def test_what_was_written_later_comes_later() -> None:
    found = parsed(
        ROOT,
        node("new", "root", text="New", create_time=30.0),
        node("old", "root", text="Old", create_time=10.0),
        node("reply", "new", "assistant", "Reply", create_time=20.0),  # before what it answers
        node("none", "old", "assistant", "No time", create_time=None),
    )
    assert told(found) == [
        ("user", "Old", None),
        ("assistant", "No time", 0),
        ("user", "New", None),
        ("assistant", "Reply", 2),
    ]


def test_tools_and_hidden_messages_are_left_out_and_what_is_around_them_is_one() -> None:
    found = parsed(
        ROOT,
        node("u", "root", text="What is 2**100?"),
        node("a1", "u", "assistant", "Let me see."),
        node(
            "call",
            "a1",
            "assistant",
            recipient="python",
            content={"content_type": "code", "language": "python", "text": "2**100"},
        ),
        node("out", "call", "tool", content={"content_type": "execution_output", "text": "1.2e30"}),
        hidden("h", "out", "user", "Context"),
        node("e", "h", "assistant", ""),
        node("a2", "e", "assistant", "A lot.", metadata={"model_slug": "gpt-4o"}),
        node("u2", "a2", text="Thanks"),
    )
    assert told(found) == [
        ("user", "What is 2**100?", None),
        ("assistant", "Let me see.\n\nA lot.", 0),
        ("user", "Thanks", 1),
    ]
    assert found.messages[1].generations[0].provenance.model == "gpt-4o"


def test_a_current_node_that_is_left_out_means_what_stands_above() -> None:
    found = parsed(
        ROOT,
        node("u", "root", text="Hi"),
        node("a", "u", "assistant", "Ho"),
        node("b", "a", "assistant", "Ha"),
        node("t", "b", "tool", "output"),
    )
    assert told(found) == [("user", "Hi", None), ("assistant", "Ho\n\nHa", 0)]
    assert found.leaf == 1


def test_a_branch_keeps_the_same_voice_apart() -> None:
    found = parsed(
        ROOT,
        node("u", "root", text="Hi"),
        node("a", "u", "assistant", "One"),
        node("b", "a", "assistant", "Two"),
        node("c", "a", "assistant", "Three"),
    )
    assert [one[2] for one in told(found)] == [None, 0, 1, 1]


def test_images_and_sound_are_named() -> None:
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://f", "width": 1}
    said = {"content_type": "audio_transcription", "text": "Spoken", "direction": "in"}
    parts = [image, "What is this?", said, {"content_type": "audio_asset_pointer"}, {"x": 1}, 7]
    made = {"content_type": "multimodal_text", "parts": [image]}
    found = parsed(
        ROOT,
        node("u", "root", content={"content_type": "multimodal_text", "parts": parts}),
        node("call", "u", "assistant", '{"prompt": "cat"}', recipient="dalle.text2im"),
        node("t", "call", "tool", content=made),
        node("a", "t", "assistant", "There."),
    )
    assert told(found) == [
        ("user", "[image]\n\nWhat is this?\n\nSpoken\n\n[audio]\n\n[attachment]", None),
        ("assistant", "[image]\n\nThere.", 0),
    ]


def test_thoughts_are_the_reasoning_of_what_follows() -> None:
    thoughts = {
        "content_type": "thoughts",
        "thoughts": [{"summary": "Thinking", "content": "Hm."}, {"content": ""}, 7],
    }
    recap = {"content_type": "reasoning_recap", "content": "Thought for 5 s"}
    found = parsed(
        ROOT,
        node("u", "root", text="Hi"),
        node("t", "u", "assistant", content=thoughts),
        node("r", "t", "assistant", content=recap),
        node("a", "r", "assistant", "Ho", status="in_progress"),
    )
    assert told(found) == [("user", "Hi", None), ("assistant", "Ho", 0)]
    assert (found.messages[1].reasoning, found.messages[1].state) == (
        "Thinking\n\nHm.",
        "incomplete",
    )


def test_a_node_whose_parent_is_missing_is_a_root() -> None:
    found = parsed(node("a", "gone", "assistant", "Ho"), node("u", None, text="Hi"))
    assert [one[2] for one in told(found)] == [None, None]


def test_a_very_long_conversation() -> None:
    nodes = [ROOT]
    for number in range(3000):
        role = "assistant" if number % 2 else "user"
        nodes.append(node(str(number), nodes[-1]["id"], role, f"{number}"))
    found = parsed(*nodes)
    assert len(found.messages) == 3000
    assert found.leaf == 2999


def test_a_title_of_several_lines_or_none() -> None:
    user = node("u", None, text="Hi")
    assert parsed(user, title=" a\n b ").title == "a b"
    assert parsed(user, title=None).title is None
    assert not parsed(user, title="").title_is_own


def test_without_an_id_the_content_is_the_source() -> None:
    one, two = (
        parsed(node("u", None, text=text), conversation_id=None, id=None) for text in ("a", "b")
    )
    assert one.source != two.source
    assert parsed(node("u", None, text="a"), conversation_id=None, id="x").source == "chatgpt:x"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (conversation(ROOT), "has no message of a user or an assistant"),
        (
            conversation(node("a", "b", text="x"), node("b", "a", text="y")),
            "has messages that go round in a circle",
        ),
        (conversation(node("a", "a", text="x")), "has messages that go round in a circle"),
        ({"mapping": []}, "can't be understood at mapping"),
        ({"mapping": {"a": {"message": {"author": 7}}}}, "can't be understood at mapping.a"),
        (conversation(node("a", None, create_time=-5)), "can't be understood at mapping.a.message"),
    ],
)
def test_what_is_no_conversation_is_named(value: Any, reason: str) -> None:
    good = conversation(node("u", None, text="Hi"))
    first, second = read(io.BytesIO(json.dumps([value, good]).encode()))
    assert isinstance(first, Unread)
    assert first.reason.startswith(reason)
    assert isinstance(second, NewConversation)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tree_keeps_its_texts_and_their_order(data: st.DataObject) -> None:
    nodes = [ROOT]
    for number in range(data.draw(st.integers(1, 12))):
        parent = data.draw(st.sampled_from(nodes))["id"]
        role = data.draw(st.sampled_from(["user", "assistant", "tool", "system"]))
        time = data.draw(st.none() | st.floats(0, 100))
        nodes.append(node(str(number), parent, role, f"<{number}>", create_time=time))
    value = conversation(*data.draw(st.permutations(nodes)))
    (found,) = read(io.BytesIO(json.dumps([value]).encode()))
    visible = [
        each["message"]["content"]["parts"][0]
        for each in nodes[1:]
        if each["message"]["author"]["role"] != "tool"
    ]
    if not visible:
        assert isinstance(found, Unread)
        return
    assert isinstance(found, NewConversation)
    texts = [text for one in found.messages for text in one.content.split("\n\n")]
    assert sorted(texts) == sorted(visible)
    assert all(one.parent is None or one.parent < n for n, one in enumerate(found.messages))
    assert found.leaf is None or 0 <= found.leaf < len(found.messages)
    by_name = {each["id"]: each for each in nodes}
    for number, one in enumerate(found.messages):
        above = path_texts(found.messages, number)
        last = by_name[one.content.split("\n\n")[-1].strip("<>")]
        assert above == [text for text in up(by_name, last) if text in visible]


def path_texts(messages: tuple[NewMessage, ...], number: int | None) -> list[str]:
    found: list[str] = []
    while number is not None:
        found = messages[number].content.split("\n\n") + found
        number = messages[number].parent
    return found


def up(by_name: dict[str, dict[str, Any]], found: dict[str, Any]) -> list[str]:
    texts = []
    while found["message"]:
        texts.append(found["message"]["content"]["parts"][0])
        found = by_name[found["parent"]]
    return texts[::-1]
