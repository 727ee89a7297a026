"""From one home to another and back: our own JSON loses nothing."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.paths import Paths
from localchat.sanitize import escape
from localchat.store.formats import own
from localchat.store.formats.reading import Unread, read
from localchat.store.merging import take_in
from localchat.store.records import (
    Conversation,
    Generation,
    NewConversation,
    NewMessage,
    Provenance,
    StoredMessage,
    Trim,
)
from localchat.store.store import Store
from localchat.types import Timings, Usage

TEXT = st.one_of(
    st.text(max_size=20),  # also halves of surrogate pairs
    st.text(st.sampled_from('\0\x1b\x07\x85\u202e\u2066\r\n\t"\\\ud83d\ude00😀é'), max_size=12),
    st.sampled_from(["x" * 70_000, "\n" * 20_000, "😀" * 10_000]),
)
SHORT = st.text(max_size=8)
WHOLE = st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, 1e6)
TIME = st.floats(0, 2e9)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | SHORT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SHORT, inner, max_size=2),
    max_leaves=4,
)
OBJECT = st.dictionaries(SHORT, VALUES, max_size=3)
DIGEST = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)


def generations(place: int) -> st.SearchStrategy[Generation]:
    trims: st.SearchStrategy[Trim | None] = st.none()
    if place:
        dropped = st.lists(st.integers(0, place - 1), max_size=3).map(tuple)
        trims |= st.tuples(dropped, st.none() | TEXT).map(lambda values: Trim(*values))
    return st.builds(
        Generation,
        st.builds(Provenance, SHORT, DIGEST, DIGEST, st.none() | SHORT, OBJECT),
        WHOLE,
        WHOLE,
        st.sampled_from([None, "stop", "length", "cancelled"]),
        st.none() | WHOLE,
        st.none() | st.builds(Usage, WHOLE, WHOLE, WHOLE),
        st.none() | st.builds(Timings, SECONDS, SECONDS, SECONDS),
        trims,
        st.none() | TEXT,
    )


@st.composite
def conversations(draw: st.DrawFn) -> NewConversation:
    messages = []
    for place in range(draw(st.integers(0, 7))):
        parent = draw(st.none() | st.integers(0, place - 1)) if place else None
        messages.append(
            NewMessage(
                draw(st.sampled_from(["system", "user", "assistant"])),
                draw(TEXT),
                parent,
                draw(TEXT),
                draw(st.none() | TIME),
                draw(st.sampled_from(["complete", "incomplete", "failed"])),
                tuple(draw(st.lists(generations(place), max_size=2))),
            )
        )
    return NewConversation(
        tuple(messages),
        None,
        draw(st.none() | SHORT),
        draw(st.booleans()),
        draw(TIME),
        draw(st.none() | TIME),
        draw(st.none() | st.integers(0, len(messages) - 1)) if messages else None,
        draw(OBJECT),
        None,
    )


def exported(store: Store) -> str:
    """As `localchat history export --all --json` writes it."""
    found = sorted((one.conversation for one in store.newest(1000)), key=lambda one: one.id)
    values = [own.to_json(one, store.tree(one.id)) for one in found]
    return escape(json.dumps(values, ensure_ascii=False))


def imported(store: Store, text: str) -> list[Any]:
    return [*take_in(store, read(io.BytesIO(text.encode())))]


def home(folder: Path) -> Paths:
    return Paths(*(folder / part for part in ("config", "data", "cache", "state", "run")))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(conversations(), max_size=4))
def test_a_round_trip_loses_nothing(found: list[NewConversation]) -> None:
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        Store.open(home(Path(one))) as first,
        Store.open(home(Path(two))) as second,
    ):
        first.add(found)
        text = exported(first)
        became = imported(second, text)
        assert len(became) == len(found)
        assert not [each for each in became if isinstance(each, Unread)]
        assert exported(second) == text
        assert all(each.id is None for each in imported(second, text)), "all of it is here"
        assert all(each.id is None for each in imported(first, text))
        assert exported(second) == text


def test_numbers_that_json_has_not_are_carried(store: Store, places: Paths) -> None:
    params = {"logit_bias": [["a", float("-inf")]], "plain": {"$float": "else"}}
    new = NewMessage("assistant", "", generations=(Generation(Provenance("m", params=params)),))
    (id_,) = store.add([NewConversation((new,))])
    assert id_ is not None
    text = exported(store)
    assert "Infinity" not in text
    store.delete([id_])
    imported(store, text)
    assert store.tree(id_)[0].generations[0].provenance.params == params


CONVERSATION = Conversation("0" * 16, "T", False, 1.0, 2.0, 5, {})
TREE = [
    StoredMessage(4, "0" * 16, None, "user", "Hi", "", 1.0, "complete"),
    StoredMessage(5, "0" * 16, 4, "assistant", "Ho", "", 1.5, "generating"),
]


TRIMMED = Generation(Provenance("m"), trim=Trim((1,)))


def test_what_is_being_written_is_incomplete_by_the_time_it_is_read() -> None:
    assert [one["state"] for one in own.to_json(CONVERSATION, TREE)["messages"]] == [
        "complete",
        "incomplete",
    ]


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.update(values)


def change_message(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["messages"][1].update(values)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (change(version=2), "was written by another version of localchat"),
        (change(id="../../etc"), "can't be understood at id"),
        (change(id="0" * 15 + "\n"), "can't be understood at id"),
        (change(created=1e300), "can't be understood at created"),
        (change(updated=-1), "can't be understood at updated"),
        (change(leaf=2), "can't be understood: Value error, the leaf is no message of it"),
        (change(messages=None), "can't be understood at messages"),
        (change_message(parent=1), "can't be understood: Value error, message 1 comes before its"),
        (change_message(parent=-1), "can't be understood at messages.1.parent"),
        (change_message(role="tool"), "can't be understood at messages.1.role"),
        (change_message(state="generating"), "can't be understood at messages.1.state"),
        (
            change_message(generations=[own._generation_to_json(TRIMMED, {1: 1})]),
            "can't be understood: Value error, message 1 names one that comes after it",
        ),
        (change_message(generations=[{}]), "can't be understood at messages.1.generations.0.model"),
    ],
)
def test_what_is_no_conversation_is_refused(
    spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    told = own.to_json(CONVERSATION, TREE)
    spoil(told)
    (found,) = read(io.BytesIO(json.dumps([told]).encode()))
    assert isinstance(found, Unread)
    assert (found.number, found.reason[: len(reason)]) == (1, reason)


@pytest.mark.parametrize("field", ["seed", "content_from"])
def test_numbers_that_do_not_fit_are_refused(field: str) -> None:
    told = own.to_json(CONVERSATION, TREE)
    one = Generation(Provenance("m"))
    told["messages"][1]["generations"] = [
        own._generation_to_json(one, {}) | {field: 2**63}  # the most that SQLite can hold, and 1
    ]
    (found,) = read(io.BytesIO(json.dumps(told).encode()))
    assert isinstance(found, Unread)
    assert field in found.reason


def test_one_that_can_not_be_read_stops_no_other() -> None:
    good = own.to_json(CONVERSATION, TREE)
    found = [*read(io.BytesIO(json.dumps([good, {}, 7, good | {"id": "!"}, good]).encode()))]
    assert [one.number if isinstance(one, Unread) else None for one in found] == [
        None,
        2,
        3,
        4,
        None,
    ]
