"""The order in which rows go to the engine, and how many are held."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.batch import flight, order
from localchat.batch.answer import failure
from localchat.batch.intake import Item
from localchat.batch.journal import Finished
from localchat.batch.order import together
from localchat.batch.request import Row
from localchat.types import Message, SamplingParams
from tests.batch import Engine, answered, batch, begin, entries, said
from tests.conftest import wait_until

pytestmark = pytest.mark.usefixtures("home")
LONG = "x" * 600  # as many characters as make two rows alike at two lengths


def row(number: int, *texts: str) -> Row:
    messages = tuple(Message("user", text) for text in texts)
    source = json.dumps(texts)
    return Row(number, number, f"r{number}", source, b"", messages, SamplingParams())


def order_of(items: Iterable[Item]) -> list[int]:
    return [(item if isinstance(item, Row) else item.row).number for item in items]


def test_rows_that_begin_alike_go_together_in_the_order_of_their_first() -> None:
    texts = ["ab" * 100, "cd" * 100, "alone", "ab" * 100, "other", "cd" * 100, "ab" * 100]
    rows = [row(number, text, f"own {number}") for number, text in enumerate(texts)]
    assert order_of(together(rows)) == [0, 3, 6, 1, 5, 2, 4]


def test_among_those_the_ones_that_share_more() -> None:
    ends = ["one", "two", "one", "two", "three"]
    rows = [row(n, LONG[:200] + end * 200, str(n)) for n, end in enumerate(ends)]
    assert order_of(together(rows)) == [0, 2, 1, 3, 4]


def test_what_several_messages_share_counts_and_who_says_it() -> None:
    rows = [row(0, "a", LONG, "x"), row(1, "b"), row(2, "a", LONG, "y")]
    assert order_of(together(rows)) == [0, 2, 1]
    system = rows[2]._replace(messages=(Message("system", "a"), *rows[2].messages[1:]))
    assert order_of(together([*rows[:2], system])) == [0, 1, 2]


def test_short_rows_and_those_of_one_beginning_keep_their_order() -> None:
    chance = random.Random(1)
    for beginning in ("", LONG * 20):
        rows = [row(n, beginning, str(chance.random())) for n in range(50)]
        assert order_of(together(rows)) == [*range(50)]


def test_what_is_not_to_be_asked_waits_for_nothing() -> None:
    done = Finished(row(1), failure("UnusableRow", "No."))
    assert order_of(together([row(0, "a"), done, row(2, "b")])) == [1, 0, 2]


def test_a_window_holds_so_many_rows_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_ROWS", 4)
    alike = [row(n, LONG + "ab"[n % 2] * 600) for n in range(8)]
    assert order_of(together(alike)) == [0, 2, 1, 3, 4, 6, 5, 7]
    monkeypatch.setattr(order, "_ROWS", 100)
    monkeypatch.setattr(order, "_CHARACTERS", 4 * 1200)
    assert order_of(together(alike)) == [0, 2, 1, 3, 4, 6, 5, 7]


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["", "a" * 130, "b" * 3000])), max_size=40)
)
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_and_nothing_comes_twice(made: list[tuple[bool, str]]) -> None:
    items: list[Item] = [
        row(n, text) if is_open else Finished(row(n, text), failure("UnusableRow", "No."))
        for n, (is_open, text) in enumerate(made)
    ]
    assert sorted(order_of(together(items))) == [*range(len(made))]


class TestInARun:
    def test_a_file_is_asked_in_this_order_and_written_in_its_own(self, tmp_path: Path) -> None:
        engine, file, out = Engine(), tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        systems = [f"{number} {LONG}" for number in range(3)]
        with file.open("w") as lines:
            for n in range(12):
                messages = [
                    {"role": "system", "content": systems[n % 3]},
                    {"role": "user", "content": f"t{n}"},
                ]
                lines.write(json.dumps({"messages": messages}) + "\n")
        batch(file, out, engine, concurrency=4)
        assert [said(request) for request in engine.requests] == [
            f"t{n}" for first in range(3) for n in range(first, 12, 3)
        ]
        answers = [json.loads(line)["answer"] for line in out.read_text().splitlines()]
        assert answers == [f"<t{n}>" for n in range(12)]

    def test_rows_of_a_pipe_are_asked_as_they_come(self, tmp_path: Path) -> None:
        engine, fifo, out = Engine(), tmp_path / "in.txt", tmp_path / "out.csv"
        os.mkfifo(fifo)
        opened = os.open(fifo, os.O_RDWR)  # so that neither end waits for the other
        os.write(opened, b"first\n")
        run = begin(fifo, out, engine)
        writing = os.open(fifo, os.O_WRONLY)
        os.close(opened)
        running = threading.Thread(target=answered, args=(run,))
        running.start()
        wait_until(lambda: [said(one) for one in engine.requests] == ["first"])
        os.write(writing, b"second\n")
        os.close(writing)
        running.join()
        assert [entry.number for entry in entries(out)] == [1, 2]

    def test_few_long_rows_are_held_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flight, "_MOST_HELD", 5000)
        monkeypatch.setattr(order, "_CHARACTERS", 1000)
        engine, file, out = Engine(), tmp_path / "in.csv", tmp_path / "out.csv"
        file.write_text("text\n" + "".join(f"{n}{'x' * 1000}\n" for n in range(40)))
        engine.holds = True
        run = begin(file, out, engine)
        running = threading.Thread(target=answered, args=(run,))
        running.start()
        try:
            wait_until(lambda: len(engine.requests) == 5)
        finally:
            engine.release()
        running.join()
        assert engine.most == 5
        assert len(entries(out)) == 40
