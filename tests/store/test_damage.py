"""Damage: what can be read goes on in a new file, and the old one is kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import apsw
import pytest

from localchat.errors import HistoryFailed, OutOfSpace
from localchat.paths import Paths
from localchat.store import aside, migrations, recovery
from localchat.store.connection import PAGE_SIZE, connect, every
from localchat.store.records import Outcome
from localchat.store.store import Store
from tests.store.children import Acknowledge, Child
from tests.store.conftest import PROVENANCE, Contents, Say, contents, merge
from tests.store.test_file import whole

PAGE = PAGE_SIZE


def altered(found: Contents, original: Contents) -> int:
    """How many of the messages that were found are not as they were."""
    known = {message.id: message for message in chain(*original.values())}
    return sum(
        message._replace(parent=None, generations=())
        != known[message.id]._replace(parent=None, generations=())
        for message in chain(*found.values())
    )


def count(found: Contents) -> int:
    return sum(map(len, found.values()))


def overwrite(path: Path, page: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(data)


def overwrite_all(places: Paths, store: Store) -> None:
    """Damages every page but the first, also those that the open store remembers."""
    for page in range(2, places.history.stat().st_size // PAGE + 1):
        overwrite(places.history, page, b"\0" * 64)
    store._database.read(lambda connection: every(connection, "PRAGMA shrink_memory"))


def kept_files(places: Paths) -> list[str]:
    return sorted(path.name.replace(path.name[16:26], "DAY") for path in aside.kept(places.history))


@pytest.mark.parametrize(
    ("harm", "least"),
    [
        (lambda path: path.write_bytes(b""), 0),
        (lambda path: path.write_bytes(b"not a database, but long enough " * 500), 0),
        (lambda path: path.write_bytes(b"x"), 0),
        (lambda path: os.truncate(path, PAGE), 0),
        (lambda path: os.truncate(path, path.stat().st_size // 2), 20),
        (lambda path: os.truncate(path, path.stat().st_size - PAGE - 100), 100),
        (lambda path: overwrite(path, 1, b"\0" * PAGE), 120),
        (lambda path: overwrite(path, 1, random.Random(2).randbytes(PAGE)), 120),
        (lambda path: overwrite(path, 1, b"SQLite format 3\0" + b"\xff" * 80), 120),
    ],
    ids=["empty", "other", "byte", "one page", "half", "end", "zeros", "garbage", "header"],
)
def test_a_damaged_file_is_replaced_by_what_can_be_read(
    places: Paths, filled: Contents, harm: Callable[[Path], object], least: int
) -> None:
    harm(places.history)
    damaged = places.history.read_bytes()
    with Store.open(places) as store:
        found = contents(store)
        assert count(found) >= least
        assert altered(found, filled) == 0
        (note,) = store.notes
        kept = store.stats().damaged[0]
        assert Path(kept).read_bytes() == damaged
        assert kept in note
        said = count(found) - sum(one.role == "system" for one in chain(*found.values()))
        assert f"{said} messages" in note or "nothing in it" in note
        store.start_turn(None, "Hi", provenance=PROVENANCE)
    whole(places)
    with Store.open(places) as again:
        assert again.notes == ()
        assert again.stats().messages >= 1


@pytest.mark.parametrize("seed", range(12))
def test_any_page_can_be_damaged(places: Paths, filled: Contents, seed: int) -> None:
    """At once or later, the damage is found, and all that is elsewhere is kept."""
    rng = random.Random(seed)
    pages = places.history.stat().st_size // PAGE
    page = rng.randrange(2, pages + 1)
    harm = rng.choice([b"\0" * PAGE, rng.randbytes(PAGE), rng.randbytes(64)])
    overwrite(places.history, page, harm)
    with Store.open(places, check_budget=rng.choice([0.0, 10.0])) as store:
        store.check()
        found = contents(store)
        store.search("question")
        turn = store.start_turn(None, "Hi", provenance=PROVENANCE)
        store.finish(turn.reply, "Ho", "", Outcome("complete"))
        assert len(store.notes) == 1
        # A page of 4 KiB has some dozen short messages at most, or a part of a long one.
        assert count(found) > count(filled) - 40
        # Within a long text a fault can't be told from the text.
        assert altered(found, filled) <= 1
        for messages in found.values():
            ids = {message.id for message in messages}
            assert all(one.parent is None or one.parent in ids for one in messages)
    whole(places)


def test_damage_is_found_when_the_file_is_opened(places: Paths, filled: Contents) -> None:
    overwrite(places.history, places.history.stat().st_size // PAGE // 2, b"\0" * PAGE)
    with Store.open(places, check_budget=10.0) as store:
        assert len(store.notes) == 1


def test_a_check_on_opening_ends_with_its_time(places: Paths, filled: Contents) -> None:
    overwrite(places.history, places.history.stat().st_size // PAGE // 2, b"\0" * PAGE)
    with Store.open(places, check_budget=1e-9) as store:
        assert store.notes == ()
        store.check()
        assert len(store.notes) == 1


def test_messages_without_their_conversation_get_a_new_one(places: Paths, filled: Contents) -> None:
    connection = connect(places.history)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'conversations'").get
    connection.close()
    overwrite(places.history, root, b"\0" * PAGE)
    with Store.open(places) as store:
        found = contents(store)
        assert altered(found, filled) == 0
        assert count(found) == count(filled)
        for listed in store.newest(100):
            assert listed.conversation.title.startswith("Question")
            assert len(store.path(listed.conversation.id)) == 13
    whole(places)


def test_damage_that_is_met_while_reading(places: Paths, filled: Contents) -> None:
    with Store.open(places) as store:
        overwrite_all(places, store)
        store.newest()
        store.search("question")
        assert len(store.notes) == 1
    whole(places)


def test_damage_that_is_met_while_writing(places: Paths, filled: Contents) -> None:
    with Store.open(places) as store:
        turn = store.start_turn(None, "Begun before", provenance=PROVENANCE)
        overwrite_all(places, store)
        store.checkpoint(turn.reply, "Half of")
        store.finish(turn.reply, "Half of it", "", Outcome("complete"))
        assert store.message(turn.reply).content == "Half of it"
        assert len(store.notes) == 1
    whole(places)


def test_one_that_others_have_open_is_replaced_for_all(places: Paths, filled: Contents) -> None:
    with Store.open(places) as first, Store.open(places) as second:
        turn = second.start_turn(None, "Second", provenance=PROVENANCE)
        overwrite(places.history, places.history.stat().st_size // PAGE // 2, b"\0" * PAGE)
        first.check()
        assert len(first.notes) == 1
        second.finish(turn.reply, "Answer", "", Outcome("complete"))
        assert second.notes == ()
        assert first.message(turn.reply).content == "Answer"
        assert first.tree(turn.conversation) == second.tree(turn.conversation)
    assert len(kept_files(places)) >= 1
    whole(places)


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        (b"Hello, long lost", b"Hello, l\xffng lost"),
        (b'{"mood":"blue"}', b'{"mood""blue"}\xff'),
        (b'"temperature":0.7', b'"temperature""0.7'),
    ],
)
def test_damage_within_a_text(places: Paths, say: Say, text: bytes, damaged: bytes) -> None:
    turn = say(None, "Hello, long lost friend", settings={"mood": "blue"})
    merge(places)
    data = places.history.read_bytes()
    assert data.count(text) >= 1
    places.history.write_bytes(data.replace(text, damaged))
    with Store.open(places) as store:
        store.conversation(turn.conversation)
        user, reply = store.path(turn.conversation)
        assert user.content in ("Hello, long lost friend", "Hello, l\ufffdng lost friend")
        assert reply.generations[0].provenance.params in ({}, PROVENANCE.params)
        assert len(store.notes) == 1
    whole(places)


def test_special_numbers_outlive_recovery(places: Paths, store: Store) -> None:
    params = {"logit_bias": [[5, float("-inf")]]}
    turn = store.start_turn(None, "Hi", provenance=PROVENANCE._replace(params=params))
    store._database._recover(apsw.CorruptError("a test"))
    assert store.message(turn.reply).generations[0].provenance.params == params


def test_what_another_has_recovered_is_not_recovered_again(places: Paths, filled: Contents) -> None:
    with Store.open(places) as first, Store.open(places) as second:
        for store in (first, second):
            store._database._recover(apsw.CorruptError("found by both"))
        assert (len(first.notes), len(second.notes)) == (1, 0)
        assert altered(contents(second), filled) == 0
    assert [name for name in kept_files(places) if name.endswith(".db")] == [
        "history.damaged-DAY-1.db"
    ]


def test_a_lost_message_leaves_no_gap(places: Paths, say: Say) -> None:
    turn = say(None, "One", system="Count.")
    for word in ("Two", "Three"):
        last = say(turn.conversation, word)
    aside_from = say(turn.conversation, "Deux", parent=turn.reply)
    connection = connect(places.history)
    every(connection, "PRAGMA foreign_keys = OFF")
    every(connection, f"DELETE FROM messages WHERE seq = {last.user}")
    every(connection, f"UPDATE conversations SET leaf = {last.user}")
    connection.close()
    with Store.open(places) as store:
        store._database._recover(apsw.CorruptError("a test"))
        found = [one.content for one in store.path(turn.conversation, last.reply)]
        assert found == ["Count.", "One", "Yes.", "Two", "Yes.", "Yes."]
        assert store.conversation(turn.conversation).leaf == aside_from.reply
    whole(places)


def test_what_only_the_log_has_is_not_lost_with_the_file(places: Paths, say: Say) -> None:
    turn = say(None, "Hi", "word " * 3000)
    places.history.unlink()
    with Store.open(places) as store:
        assert [one.content for one in store.path(turn.conversation)] == ["Hi", "word " * 3000]
        assert len(store.notes) == 1
    assert kept_files(places) == ["history.damaged-DAY-1.db-shm", "history.damaged-DAY-1.db-wal"]
    whole(places)


def test_a_log_is_not_taken_for_another_files(places: Paths, say: Say) -> None:
    say(None, "Hi", "word " * 3000)
    log = Path(f"{places.history}-wal").read_bytes()
    places.history.write_bytes(b"")
    Store.open(places).close()
    (kept,) = aside.kept(places.history)[-1:]
    assert kept.read_bytes() == log
    whole(places)


def test_damaged_files_are_kept_side_by_side(places: Paths, filled: Contents) -> None:
    for _ in range(3):
        places.history.write_bytes(b"damaged")
        Store.open(places).close()
    assert [name for name in kept_files(places) if name.endswith(".db")] == [
        f"history.damaged-DAY-{number}.db" for number in (1, 2, 3)
    ]


def test_a_newer_file_is_left_to_the_newer_localchat(places: Paths, filled: Contents) -> None:
    connection = connect(places.history)
    connection.pragma("user_version", len(migrations.MIGRATIONS) + 1)
    connection.close()
    merge(places)
    for page in range(2, places.history.stat().st_size // PAGE + 1):
        overwrite(places.history, page, b"\0" * 64)
    with pytest.raises(HistoryFailed, match="is damaged") as caught:
        Store.open(places, check_budget=10.0)
    assert "newer localchat" in str(caught.value.hint)
    assert aside.kept(places.history) == []


def test_without_room_for_a_new_file_the_damaged_one_stays(
    places: Paths, filled: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    places.history.write_bytes(b"damaged" * 10_000)

    def no_room(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(recovery, "_fill", no_room)
        with pytest.raises(OutOfSpace):
            Store.open(places)
    assert places.history.read_bytes() == b"damaged" * 10_000
    assert {path.name for path in places.data.iterdir()} <= {
        "history.db",
        "history.db-shm",
        "history.db-wal",
        "history.lock",
        "history.writers",
    }
    Store.open(places).close()


def open_until_step(places: Paths, number: int) -> Callable[[Acknowledge], None]:
    """Opens the history; the process kills itself before it does step `number` on the disk."""

    def work(acknowledge: Acknowledge) -> None:
        steps = iter(range(number))

        def stopping(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **options: Any) -> Any:
                if next(steps, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return step

        for name in ("rename", "replace", "fsync"):
            setattr(os, name, stopping(getattr(os, name)))
        Store.open(places).close()
        acknowledge("whole")
        signal.pause()

    return work


def test_nothing_is_written_to_a_file_that_is_to_be_moved(
    places: Paths, filled: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that recovered it was killed before it could move it aside."""
    with Store.open(places) as store:
        store.newest()
        with monkeypatch.context() as patch:
            patch.setattr(aside, "finish", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            child = Child(lambda acknowledge: acknowledge(recovery.recover(places.history)))
            assert child.line() == []  # it is gone
            child.kill()
        turn = store.start_turn(None, "Hi", provenance=PROVENANCE)
        assert len(store.notes) == 1
    assert len(aside.kept(places.history)) >= 1
    with Store.open(places) as again:
        assert again.message(turn.user).content == "Hi"
        assert altered({k: v for k, v in contents(again).items() if k in filled}, filled) == 0
        assert count(contents(again)) == count(filled) + 2


def test_recovery_can_be_killed_at_any_step(places: Paths, filled: Contents) -> None:
    overwrite(places.history, 1, b"\0" * PAGE)
    log = Path(f"{places.history}-wal")
    log.write_bytes(b"")
    original = places.history.with_suffix(".original")
    shutil.copy(places.history, original)
    damaged = original.read_bytes()
    steps = 0
    while True:
        child = Child(open_until_step(places, steps))
        is_whole = bool(child.line())
        child.kill()
        with Store.open(places) as store:
            assert count(contents(store)) >= 120
            assert altered(contents(store), filled) == 0
        assert any(path.read_bytes() == damaged for path in aside.kept(places.history))
        assert {name.partition(".db")[0] for name in kept_files(places)} == {
            "history.damaged-DAY-1"
        }
        if is_whole:
            break
        whole(places)
        for path in places.data.glob("history.d*"):
            path.unlink()
        shutil.copy(original, places.history)
        log.write_bytes(b"")
        steps += 1
    assert steps >= 4
