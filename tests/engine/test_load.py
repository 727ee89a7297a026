"""Real llama.cpp models, tiny and with random weights, through the whole engine.

llama.cpp promises the same logits only for the same batch shapes, so what another batch shape
computes is compared by its logits, within a tolerance, for as long as the tokens agree.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localchat.engine.engine import Engine
from localchat.engine.load import load
from localchat.engine.reports import Summarised
from localchat.engine.runner import ModelRunner
from localchat.engine.scheduled import Chunk, Output
from localchat.errors import ModelLoadFailed
from localchat.events import Event, Failed, Finished, PrefillProgress, TextDelta
from localchat.types import GenerationRequest, LoadOptions, Message, ModelRef, SamplingParams
from tests.tiny_models import ARCHITECTURES, CONTROL_TOKENS, EMBEDDING

TOLERANCE = 1e-2  # absolute, on logits of order one; measured: below 1e-3
OPTIONS = LoadOptions(context=256, threads=1, parallel=3)
START, NEXT = "the hello hello", "the hello hello the hello 123"
# Random weights may well draw a token that ends the reply at once.
NO_END = tuple((token, -math.inf) for token in range(len(CONTROL_TOKENS)))
GREEDY = SamplingParams(temperature=0.0, max_tokens=8, logit_bias=NO_END)

Logits = dict[str, list[list[float]]]


def load_engine(path: Path) -> Engine:
    return load(ModelRef("tiny", str(path)), OPTIONS, lambda line: None).engine


@pytest.fixture(scope="module", params=ARCHITECTURES)
def engine(request: pytest.FixtureRequest, tiny: Callable[..., Path]) -> Engine:
    return load_engine(tiny(request.param))


@pytest.fixture
def logits(monkeypatch: pytest.MonkeyPatch) -> Logits:
    """The logits each token was sampled from, by request."""
    seen: Logits = defaultdict(list)
    sample = ModelRunner._sample

    def record(self: ModelRunner, chunk: Chunk, row: int) -> Output:
        output = sample(self, chunk, row)
        for number in range(len(output.tokens)):
            logits = list(self._context.logits(row + number))
            seen[chunk.sequence.request.id].append(logits)
        return output

    monkeypatch.setattr(ModelRunner, "_sample", record)
    return seen


def generate(engine: Engine, *requests: GenerationRequest) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = defaultdict(list)
    for request in requests:
        engine.submit(request)
    while engine.has_work:
        for event in engine.step():
            assert not isinstance(event, Summarised)
            events[event.request_id].append(event)
    return events


def ask(
    name: str, prompt: str, params: SamplingParams = GREEDY, *, reuse: bool = True
) -> GenerationRequest:
    return GenerationRequest(name, prompt=prompt, params=params, reuse_cache=reuse, speculate=False)


def end(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def assert_close(left: list[list[float]], right: list[list[float]]) -> None:
    assert left
    for a, b in zip(left, right, strict=False):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) < TOLERANCE
        if a.index(max(a)) != b.index(max(b)):
            return  # a near tie: from here on the tokens differ


def test_every_architecture_generates(engine: Engine) -> None:
    conversation = (Message("system", "the"), Message("user", "hello"))
    request = GenerationRequest("r", conversation, params=SamplingParams(max_tokens=8, seed=1))
    events = generate(engine, request)["r"]
    assert isinstance(events[0], PrefillProgress)
    assert all(isinstance(event, PrefillProgress | TextDelta) for event in events[:-1])
    assert 0 < end(events).usage.completion_tokens <= 8


def test_two_requests_at_once_get_what_each_gets_alone(engine: Engine, logits: Logits) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=6)
    alone = [ask("1 alone", START, params, reuse=False), ask("2 alone", NEXT, params, reuse=False)]
    for request in alone:
        generate(engine, request)
    together = generate(
        engine, ask("1", START, params, reuse=False), ask("2", NEXT, params, reuse=False)
    )
    assert set(together) == {"1", "2"}
    for name in "12":
        assert end(together[name]).finish_reason in ("stop", "length")
        assert_close(logits[name], logits[f"{name} alone"])
    assert_far(logits["1"], logits["2"])


def assert_far(left: list[list[float]], right: list[list[float]]) -> None:
    with pytest.raises(AssertionError):
        assert_close(left, right)


def test_the_next_turn_reuses_the_cache(engine: Engine, logits: Logits) -> None:
    turn, next_turn = "42 hello", "42 hello the hello 43"
    one = SamplingParams(temperature=0.0, max_tokens=1)
    usage = end(generate(engine, ask("first", turn, one))["first"]).usage
    reused = end(generate(engine, ask("reused", next_turn))["reused"]).usage
    fresh = end(generate(engine, ask("fresh", next_turn, reuse=False))["fresh"]).usage
    assert reused.cached_tokens == usage.prompt_tokens
    assert fresh.cached_tokens == 0
    assert_close(logits["reused"], logits["fresh"])


def test_a_conversation_that_goes_another_way_is_computed_right(
    engine: Engine, logits: Logits
) -> None:
    generate(engine, ask("before", f"{START} 999", reuse=False))
    generate(engine, ask("turned", NEXT))
    generate(engine, ask("fresh", NEXT, reuse=False))
    assert_close(logits["turned"], logits["fresh"])


def test_the_same_request_twice_gives_the_same_text(engine: Engine) -> None:
    texts = []
    for name in ("1", "2"):
        events = generate(engine, ask(name, NEXT, reuse=False))[name]
        texts.append([event.text for event in events if isinstance(event, TextDelta)])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("aborted_step", [0, 3])
def test_an_aborted_step_is_computed_again(
    engine: Engine, logits: Logits, monkeypatch: pytest.MonkeyPatch, aborted_step: int
) -> None:
    generate(engine, ask("undisturbed", NEXT, reuse=False))
    engine.submit(ask("aborted", NEXT, reuse=False))
    for _ in range(aborted_step):
        engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "clear_abort", ModelRunner.abort)
        assert engine.step() == []
    assert len(logits["aborted"]) == aborted_step
    generate(engine)
    assert len(logits["aborted"]) == len(logits["undisturbed"])
    assert_close(logits["aborted"], logits["undisturbed"])


def test_a_prompt_that_fills_the_context_but_one_gets_its_token(engine: Engine) -> None:
    digits = "1" * (engine.context + 9)
    while True:
        rendered = engine.submit(GenerationRequest("r", prompt=digits, render_only=True))
        assert rendered is not None
        if rendered.prompt_tokens < engine.context:
            break
        digits = digits[:-1]
    usage = end(generate(engine, ask("full", digits))["full"]).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (engine.context - 1, 1)


def test_damaged_weights_fail_the_request_and_give_no_text(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    content = tiny().read_bytes()
    damaged = tmp_path / "damaged.gguf"
    size = 300 * EMBEDDING * 4  # the last tensors: the output weights and some before
    damaged.write_bytes(content[:-size] + b"\xff" * size)
    engine = load_engine(damaged)
    for asked in (ask("r", START), replace(ask("r", START), continuations=("a", "b"))):
        events = generate(engine, asked)["r"]
        assert [type(event) for event in events] == [PrefillProgress, Failed]
        assert "not numbers" in str(events[-1])


def test_a_file_that_is_no_model_fails_to_load(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("This is not a model.")
    with pytest.raises(ModelLoadFailed, match=r"text\.gguf"):
        load_engine(path)


def test_a_model_without_a_chat_template_says_so(tiny: Callable[..., Path]) -> None:
    path = tiny("llama", chat_template=None)
    loaded = load(ModelRef("tiny", str(path)), OPTIONS, lambda line: None)
    assert not loaded.has_chat_template


def test_the_template_of_the_reference_comes_before_that_of_the_file(
    tiny: Callable[..., Path],
) -> None:
    reference = ModelRef("tiny", str(tiny()), chat_template="{{ messages[0].content }}!")
    engine = load(reference, OPTIONS, lambda line: None).engine
    rendered = engine.submit(GenerationRequest("r", (Message("user", "hello"),), render_only=True))
    assert rendered is not None
    assert rendered.prompt == "hello!"


def test_the_context_is_never_longer_than_the_model_was_trained_for(
    tiny: Callable[..., Path],
) -> None:
    options = LoadOptions(context=4096, threads=1, parallel=1)
    assert load(ModelRef("tiny", str(tiny())), options, lambda line: None).engine.context == 256
