"""Search: by words as they are typed, never by a query language."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat.store.records import Hit, NewConversation, NewMessage
from localchat.store.search import parse
from localchat.store.store import Store
from tests.store.conftest import PROVENANCE, Say

NOW = time.time()


def conversation(*texts: str, created: float = NOW) -> NewConversation:
    return NewConversation(tuple(NewMessage("user", text) for text in texts), created=created)


def found(hits: list[Hit]) -> list[str]:
    """What was found, with the marked words in brackets."""
    shown = []
    for hit in hits:
        text = hit.snippet
        for start, end in reversed(hit.marks):
            text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
        shown.append(text)
    return shown


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("blue", ["The sky is [blue]"]),
        ("BLUE sky", ["The [sky] is [blue]"]),
        ('"sky is"', ["The [sky is] blue"]),
        ('"is sky"', []),
        ("creme brulee", ["[Crème] [Brûlée], please"]),
        ("CRÈME", ["[Crème] Brûlée, please"]),
        ("sky rocket", []),
        ("NEAR(the blue)", []),
        ("content:blue", []),
        ("sky OR brulee", []),
        ("blu*", []),
        ('"sky', ["The [sky] is blue"]),
        ('sky""', ["The [sky] is blue"]),
        ("-blue", ["The sky is [blue]"]),
        ("C++ code", ["Some [C]++ [code]: a->b != [c]"]),
        ("->", ["Some C++ code: a[->]b != c"]),
        ('code "b !="', ["Some C++ [code]: a->[b] != c"]),
        ("空は青", ["なぜ[空は青]いのですか"]),
        ("空 青", ["なぜ[空]は[青]いのですか"]),
        ("青 sky", []),
        ("ท้องฟ้า", ["ทำไม[ท้องฟ้า]เป็นสีฟ้า"]),
        ("line two", ["[Line] one, then [two]  three"]),
        ("", []),
        ("  ", []),
        ('""', []),
        ("\0", []),
    ],
)
def test_what_is_found(store: Store, query: str, hits: list[str]) -> None:
    store.add(
        [
            conversation("The sky is blue", "Crème Brûlée, please"),
            conversation("Some C++ code: a->b != c", "なぜ空は青いのですか"),
            conversation("ทำไมท้องฟ้าเป็นสีฟ้า", "Line one, then\ntwo\t\nthree"),
        ]
    )
    assert found(store.search(query)) == hits


def test_a_word_that_is_being_typed_may_go_on(store: Store) -> None:
    store.add([conversation("Photosynthesis in plants")])
    assert store.search("plants photosyn") == []
    assert len(store.search("plants photosyn", is_complete=False)) == 1
    assert store.search("photosyn plants", is_complete=False) == []
    assert store.search("photosyn ", is_complete=False) == []
    assert store.search('"in pla', is_complete=False) != []
    assert store.search('"in pla"', is_complete=False) == []
    assert store.search("ph", is_complete=False) == []


def test_a_hit_says_where_it_is(store: Store, say: Say) -> None:
    turn = say(None, "Why is grass green?", "Chlorophyll. " + "Filler words. " * 50)
    (hit,) = store.search("chlorophyll")
    assert hit.conversation == store.conversation(turn.conversation)
    assert hit.short_id == store.short_id(turn.conversation)
    assert (hit.message, hit.role) == (turn.reply, "assistant")
    assert hit.created == store.message(turn.reply).created
    assert hit.snippet.endswith("…")
    assert len(hit.snippet) < 400


def test_what_is_found_as_it_is_has_a_snippet_too(store: Store) -> None:
    store.add([conversation("前" * 500 + "\n目标\n" + "后" * 500)])
    (hit,) = store.search("目标")
    assert hit.snippet.startswith("…前")
    assert hit.snippet.endswith("后…")
    assert [hit.snippet[slice(*mark)] for mark in hit.marks] == ["目标"]
    assert len(hit.snippet) < 200


def test_own_titles_are_found_first(store: Store, say: Say) -> None:
    tax, other = say(None, "How much is it?"), say(None, "What is a tax return?")
    store.rename(tax.conversation, "My Tax return 2025")
    first, second = store.search("tax return")
    assert (first.conversation.id, first.message) == (tax.conversation, None)
    assert found([first]) == ["My [Tax return] 2025"]
    assert second.message == other.user
    assert len(store.search("tax return", limit=1)) == 1


def test_only_what_was_said_is_found(store: Store) -> None:
    turn = store.start_turn(None, "Hi", system="Be a pirate.", provenance=PROVENANCE)
    store.checkpoint(turn.reply, "Ahoy pirate", "pirate")
    assert store.search("pirate") == []


def test_a_text_that_looks_like_a_mark_is_not_one(store: Store) -> None:
    text = "blue <b>\x02\x03 \ue000\ue001 …"
    store.add([conversation(text)])
    (hit,) = store.search("blue")
    assert (hit.snippet, hit.marks) == (text, ((0, 4),))


def test_new_and_short_messages_come_first(store: Store) -> None:
    year = 365 * 86_400.0
    store.add(
        [
            conversation("new apple", created=NOW),
            conversation("old apple", created=NOW - 3 * year),
            conversation("apple " + "and much else " * 30, created=NOW),
            *(conversation(f"nothing {number}") for number in range(20)),
        ]
    )
    shown = [hit.snippet.split()[0] for hit in store.search("apple")]
    assert shown == ["new", "old", "apple"]


def test_limit(store: Store) -> None:
    store.add([conversation(*(f"apple {number}" for number in range(30)))])
    assert len(store.search("apple", limit=7)) == 7
    assert len(store.search("apple", limit=100)) == 30


def test_a_common_word_finds_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localchat.store.search._RANKED", 5)
    store.add([conversation(*(f"apple {number}" for number in range(30)))])
    hits = found(store.search("apple", limit=30))
    assert sorted(hits) == [f"[apple] {number}" for number in range(25, 30)]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(query=st.text() | st.text('"*():^-+{}ANDORT ', max_size=200), is_complete=st.booleans())
def test_no_query_is_an_error(store: Store, query: str, is_complete: bool) -> None:
    store.search(query, is_complete=is_complete)


def test_a_long_query_is_no_error(store: Store) -> None:
    assert store.search("word " * 10_000) == []
    assert parse("a " * 40).words == " ".join(['"a"'] * 32)
