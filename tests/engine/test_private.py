"""A private request leaves nothing that is written to disk, whatever becomes of its slot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localchat.types import GenerationRequest
from tests.engine.test_engine import TURNS, Bench, long_talk, summariser

SECRET = "s" * 300


def bench() -> Bench:
    replies = {SECRET: b"reply", SECRET + "x": b"", "p" * 900: b""}
    return Bench(replies, context=1024, budget=512)


def ask(bench: Bench, prompt: str, *, private: bool, conversation: str | None = "chat") -> None:
    bench.ask(
        GenerationRequest(
            f"{len(bench.events)}", prompt=prompt, private=private, conversation=conversation
        )
    )
    bench.run()


@pytest.mark.parametrize("private", [True, False])
def test_when_nothing_else_is_to_do(private: bool) -> None:
    engine = bench()
    ask(engine, SECRET, private=private)
    assert engine.engine.tidy() is not private
    assert bool(engine.folder.states) is not private


@pytest.mark.parametrize("private", [True, False])
def test_when_the_engine_leaves(private: bool) -> None:
    engine = bench()
    engine.ask(GenerationRequest("r", prompt=SECRET, private=private, conversation="chat"))
    for _ in range(3):
        engine.step()
    engine.engine.close(1.0)
    assert bool(engine.folder.states) is not private


@pytest.mark.parametrize("private", [True, False])
def test_when_others_need_its_cells(private: bool) -> None:
    engine = bench()
    ask(engine, SECRET, private=private)
    ask(engine, "p" * 900, private=False, conversation=None)
    assert [len(save.tokens) for save in engine.runner.kept_states] == ([] if private else [305])


@pytest.mark.parametrize("private", [True, False])
def test_when_many_prompts_begin_like_it(private: bool) -> None:
    engine = bench()
    ask(engine, SECRET, private=private, conversation=None)
    for _ in range(3):
        (slot,) = [slot for slot in engine.scheduler.slots._slots if slot.tokens]
        engine.scheduler.slots.copied_from(slot.index)
    assert engine.engine.tidy() is not private


@pytest.mark.parametrize("private", [True, False])
def test_when_a_summary_of_it_was_made(private: bool) -> None:
    engine = Bench(summariser, template=TURNS, context=1024, budget=512)
    engine.ask(replace(long_talk(), private=private))
    left = set()
    while engine.engine.has_work:
        engine.step()
        left |= {(s.index, s.is_private) for s in engine.scheduler.slots._slots if s.tokens}
    assert left == {(0, private), (1, private)}, "the summary's slot, and the answer's"


def test_a_conversation_that_begins_like_it_is_kept_and_has_no_word_of_it() -> None:
    engine = bench()
    ask(engine, SECRET, private=True, conversation=None)
    ask(engine, SECRET + "x", private=False)
    assert engine.engine.tidy()
    assert [bytes(tokens) for tokens, *_ in engine.folder.states] == [f"{SECRET}x".encode()]
