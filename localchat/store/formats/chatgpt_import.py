"""ChatGPT's export, conversations.json: a tree of nodes, some without a message.

What the model said to its tools and they to it, and what its users were never shown, is left out;
what comes below follows the message above. Texts that so come to stand one after the other are one
message: templates insist on turns.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from localchat.store.formats.own_import import Time
from localchat.store.formats.parts import text_of
from localchat.store.records import Ending, Generation, NewConversation, NewMessage, Provenance
from localchat.types import Role

_TEXTS = ("text", "multimodal_text", "code")


class _Author(BaseModel):
    role: str


class _Content(BaseModel):
    content_type: str = ""
    parts: list[Any] | None = None
    text: str | None = None
    thoughts: list[Any] | None = None


class _Message(BaseModel):
    author: _Author
    create_time: Time | None = None
    content: _Content = _Content()
    status: str | None = None
    recipient: str | None = None
    metadata: dict[str, Any] | None = None


class _Node(BaseModel):
    message: _Message | None = None
    parent: str | None = None
    children: list[str] = Field(default_factory=list)


class _Conversation(BaseModel):
    title: str | None = None
    create_time: Time | None = None
    update_time: Time | None = None
    mapping: dict[str, _Node]
    current_node: str | None = None
    conversation_id: str | None = None
    id: str | None = None


@dataclass(slots=True, eq=False)
class _Said:
    """A message that is taken over."""

    role: Role
    texts: list[str]
    created: float | None
    state: Ending
    model: str | None
    thoughts: list[str]
    parent: _Said | None
    children: list[_Said] = field(default_factory=list)


def from_json(value: Any) -> NewConversation:
    """One conversation with all its branches. Raises ValueError (pydantic's too)."""
    found = _Conversation.model_validate(value)
    above = _taken_over(found.mapping)
    said = _in_order(above)
    if not said:
        raise ValueError("has no message of a user or an assistant")
    places = {one: place for place, one in enumerate(said)}
    leaf = above.get(found.current_node or "")
    name = found.conversation_id or found.id or _digest(value)
    title = " ".join((found.title or "").split()) or None
    return NewConversation(
        tuple(_message(one, places) for one in said),
        title=title,
        title_is_own=title is not None,
        created=found.create_time,
        updated=found.update_time,
        leaf=places[leaf] if leaf else None,
        source=f"chatgpt:{name}",
    )


def _message(said: _Said, places: Mapping[_Said, int]) -> NewMessage:
    return NewMessage(
        said.role,
        "\n\n".join(said.texts),
        places[said.parent] if said.parent else None,
        "\n\n".join(said.thoughts),
        said.created,
        said.state,
        (Generation(Provenance(said.model)),) if said.model else (),
    )


def _taken_over(nodes: Mapping[str, _Node]) -> dict[str, _Said | None]:
    """For each node that hangs together with a root: its message, or the nearest one above."""
    children: dict[str | None, list[str]] = {}
    for name, node in nodes.items():
        parent = node.parent if node.parent in nodes else None
        children.setdefault(parent, []).append(name)
    for node_name, below in children.items():
        if node_name is not None:  # the alternatives in the order they were made
            order = {child: place for place, child in enumerate(nodes[node_name].children)}
            below.sort(key=lambda child: order.get(child, len(order)))
    above: dict[str, _Said | None] = {}
    # A thought comes before what is said: it is kept for the next message below.
    waiting: dict[str, list[str]] = {}
    stack = list(reversed(children.get(None, [])))
    while stack:
        name = stack.pop()
        node = nodes[name]
        parent_said = above.get(node.parent or "")
        thoughts = waiting.get(node.parent or "", [])
        said = _said(node.message, parent_said) if node.message else None
        if said is not None and said.role == "assistant":
            said.thoughts, thoughts = thoughts, []
        if node.message:
            thoughts = [*thoughts, *_thoughts(node.message)]
        above[name], waiting[name] = said or parent_said, thoughts
        stack += reversed(children.get(name, []))
    if len(above) < len(nodes):
        raise ValueError("has messages that go round in a circle")
    return _joined(above)


def _said(message: _Message, parent: _Said | None) -> _Said | None:
    """What is taken over of a message, below `parent`; None: nothing."""
    role, content, metadata = message.author.role, message.content, message.metadata or {}
    if metadata.get("is_visually_hidden_from_conversation") or content.content_type not in _TEXTS:
        return None
    text = text_of(content.parts) if content.parts is not None else content.text or ""
    if role == "tool" and content.content_type == "multimodal_text" and "[image]" in text:
        role, text = "assistant", "[image]"  # one that the model had made
    elif message.recipient not in (None, "all"):
        return None
    if role not in ("user", "assistant", "system") or not text.strip():
        return None
    model = metadata.get("model_slug")
    return _Said(
        role,  # type: ignore[arg-type]
        [text],
        message.create_time,
        "incomplete" if message.status == "in_progress" else "complete",
        model if isinstance(model, str) and role == "assistant" else None,
        [],
        parent,
    )


def _thoughts(message: _Message) -> list[str]:
    """What a reasoning model wrote down before its answer."""
    found = []
    for thought in message.content.thoughts or []:
        if isinstance(thought, Mapping):
            parts = [thought.get("summary"), thought.get("content")]
            found += [part for part in parts if isinstance(part, str) and part.strip()]
    return found


def _joined(above: dict[str, _Said | None]) -> dict[str, _Said | None]:
    """Makes one message of several that follow each other without another voice or a branch."""
    for said in _distinct(above):
        if said.parent:
            said.parent.children.append(said)
    into: dict[_Said, _Said] = {}
    for said in _distinct(above):  # parents come first
        parent = said.parent = into.get(said.parent, said.parent) if said.parent else None
        if parent and parent.role == said.role and len(parent.children) == 1:
            into[said] = parent
            parent.texts += said.texts
            parent.thoughts += said.thoughts
            parent.children, parent.state = said.children, said.state
            parent.model = parent.model or said.model
    return {name: into.get(said, said) if said else None for name, said in above.items()}


def _in_order(above: Mapping[str, _Said | None]) -> list[_Said]:
    """As they were written, but parents first: the newest message of a branch is the one shown."""
    said = _distinct(above)
    children: dict[_Said, list[int]] = {}
    times: list[float] = []
    heap: list[tuple[float, int]] = []
    numbers = {one: number for number, one in enumerate(said)}
    for number, one in enumerate(said):
        before = times[numbers[one.parent]] if one.parent else 0.0
        times.append(before if one.created is None else one.created)
        if one.parent:
            children.setdefault(one.parent, []).append(number)
        else:
            heap.append((times[number], number))
    heapq.heapify(heap)
    ordered = []
    while heap:
        _, number = heapq.heappop(heap)
        ordered.append(said[number])
        for child in children.get(said[number], []):
            heapq.heappush(heap, (times[child], child))
    return ordered


def _distinct(above: Mapping[str, _Said | None]) -> list[_Said]:
    return list(dict.fromkeys(one for one in above.values() if one))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
