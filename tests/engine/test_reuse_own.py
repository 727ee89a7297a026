"""A request that reuses only what its own conversation has left, and no more than it says."""

from __future__ import annotations

import json

from localchat.types import GenerationRequest
from tests.engine.test_engine import Bench

PROMPT = "p" * 200


def bench() -> Bench:
    return Bench({PROMPT: b"reply"}, context=1024, budget=64)


def ask(bench: Bench, name: str, at_most: int, conversation: str = "own") -> None:
    bench.ask(GenerationRequest(name, prompt=PROMPT, conversation=conversation, reuse_own=at_most))


def cached(bench: Bench, name: str) -> int:
    assert bench.text(name) == "reply"
    return bench.end(name).usage.cached_tokens


def test_it_goes_on_from_its_own() -> None:
    engine = bench()
    for name, at_most in (("first", 999), ("again", 999), ("less", 120), ("nothing", 0)):
        ask(engine, name, at_most)
        engine.run()
    assert [cached(engine, name) for name in ("first", "again", "less", "nothing")] == [
        0,
        199,
        120,
        0,
    ]


def test_what_others_left_is_not_there_for_it() -> None:
    engine = bench()
    engine.submit(PROMPT, "plain")
    ask(engine, "other", 0, conversation="other")
    engine.run()
    ask(engine, "own", 999)
    engine.run()
    assert cached(engine, "own") == 0


def test_what_others_compute_now_is_not_waited_for() -> None:
    engine = bench()
    engine.submit(PROMPT, "running")
    engine.step()
    ask(engine, "own", 999)
    engine.run()
    assert cached(engine, "own") == 0


def test_what_is_saved_is_not_read() -> None:
    engine = bench()
    tokens = [*PROMPT.encode()][:150]
    engine.states.checkpoint(tokens, json.dumps(tokens).encode())
    ask(engine, "own", 999)
    engine.run()
    assert cached(engine, "own") == 0
