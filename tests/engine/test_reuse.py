"""Whatever is reused, the logits are those of a context that computes all tokens afresh.

Every token that an engine samples is checked: the logits it was drawn from are compared with those
of another context, which is given the sequence's tokens in one batch. Other batch shapes are
computed by other kernels, so the comparison has a tolerance, for each model one far below the
difference that a wrong token makes (`test_the_comparison_finds_...`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from localchat.engine.engine import Engine
from localchat.engine.load import load
from localchat.engine.runner import ModelRunner
from localchat.engine.scheduled import Chunk, Output
from localchat.engine.sequence import Sequence
from localchat.engine.speculation import NgramLookup, Speculation
from localchat.events import Event, Finished, Scored, TextDelta
from localchat.llama.batch import Batch
from localchat.llama.context import Context
from localchat.types import GenerationRequest, LoadOptions, Message, ModelRef, SamplingParams

OPTIONS = LoadOptions(context=1024, threads=1, parallel=4)
# On logits of order one; the starter model's are of order ten, and its weights have 4 bits.
TOLERANCES = {
    "llama": 0.1,
    "gemma3": 0.1,
    "mamba": 1e-4,
    "jamba": 0.01,
    "lfm2": 0.02,
    "starter": 1.6,
}
CAN_BE_CUT = ("llama", "gemma3", "starter")


@dataclass
class Case:
    """An engine on a model, and what its tokens were sampled from."""

    name: str
    engine: Engine
    path: Path
    tolerance: float
    sampled: list[tuple[list[int], npt.NDArray[np.float32]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _fresh: Context | None = None

    @property
    def params(self) -> SamplingParams:
        """Only digits are generated: one token each, so that a reply's text is its tokens again."""
        tokenize = self.context._model.vocabulary.tokenize
        tokens = [tokenize(digit, add_special=False, parse_special=False) for digit in "0123456789"]
        biases = tuple((token[-1], 100.0) for token in tokens)
        return SamplingParams(temperature=0.0, max_tokens=8, logit_bias=biases)

    def submit(self, name: str, prompt: str, **options: Any) -> None:
        params = replace(self.params, **options.pop("params", {}))
        self.engine.submit(GenerationRequest(name, prompt=prompt, params=params, **options))

    def say(self, name: str, *contents: str) -> None:
        roles = ("user", "assistant")
        messages = [Message(roles[i % 2], content) for i, content in enumerate(contents)]  # type: ignore[arg-type]
        system = Message("system", digits("system", 100))
        self.engine.submit(GenerationRequest(name, (system, *messages), params=self.params))

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.events += self.engine.step()  # type: ignore[arg-type]
            self.check_memory()

    def run(self) -> None:
        while self.engine.has_work:
            self.step()

    def ask(self, name: str, prompt: str, **options: Any) -> str:
        self.submit(name, prompt, **options)
        self.run()
        return self.text(name)

    def text(self, name: str) -> str:
        deltas = [event for event in self.events if isinstance(event, TextDelta)]
        return "".join(delta.text for delta in deltas if delta.request_id == name)

    def cached(self, name: str) -> int:
        ends = [event for event in self.events if isinstance(event, Finished | Scored)]
        return next(end.usage.cached_tokens for end in ends if end.request_id == name)

    def length(self, prompt: str) -> int:
        request = GenerationRequest("length", prompt=prompt, render_only=True)
        rendered = self.engine.submit(request)
        assert rendered is not None
        return rendered.prompt_tokens

    def check_memory(self) -> None:
        """llama.cpp holds as many tokens of each slot as the scheduler believes."""
        scheduler, memory = self.engine._scheduler, self.context.memory
        for slot in scheduler.slots._slots:
            assert memory.length(slot.index) == scheduler.cells.length(slot.index)

    @property
    def context(self) -> Context:
        runner = self.engine._runner
        assert isinstance(runner, ModelRunner)
        return runner._context

    def fresh(self, tokens: list[int]) -> Context:
        """A context that has computed just these, with the logits after each of them."""
        if self._fresh is None:
            self._fresh = Context(
                self.context._model, n_ctx=1024, n_batch=1024, n_sequences=1, n_threads=1
            )
        self._fresh.memory.clear(0)
        batch = Batch(len(tokens))
        for position, token in enumerate(tokens):
            batch.add(token, position, 0, True)
        assert self._fresh.decode(batch)
        batch.close()
        return self._fresh

    def difference(self) -> float:
        """The largest between a logit that was sampled from and its fresh one."""
        assert self.sampled
        largest = 0.0
        self.sampled.sort(key=lambda sample: len(sample[0]), reverse=True)
        while self.sampled:
            longest, _ = self.sampled[0]
            context = self.fresh(longest)
            rest = []
            for tokens, logits in self.sampled:
                if longest[: len(tokens)] != tokens:
                    rest.append((tokens, logits))
                    continue
                expected = context.logits(len(tokens) - 1)
                largest = max(largest, float(np.abs(logits - np.array(expected)).max()))
            self.sampled[:] = rest
        return largest

    def check(self) -> None:
        assert self.difference() < self.tolerance


def digits(seed: object, count: int) -> str:
    chance = random.Random(str(seed))
    return "".join(chance.choice("0123456789") for _ in range(count))


def new_case(name: str, path: Path, options: LoadOptions = OPTIONS, **more: Any) -> Case:
    reference = ModelRef(name, str(path))
    loaded = load(reference, options, lambda line: None, **more)
    return Case(name, loaded.engine, path, TOLERANCES[name])


# The real model takes minutes; its weights have 4 bits, theirs are floats.
MODELS = [
    pytest.param(name, marks=[pytest.mark.long] if name == "starter" else []) for name in TOLERANCES
]


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest, tiny: Callable[..., Path]) -> Case:
    if request.param == "starter":
        return new_case("starter", request.getfixturevalue("starter"))
    return new_case(request.param, tiny(request.param, context_length=1024))


@pytest.fixture
def case(loaded: Case, samples: Samples) -> Case:
    loaded.events.clear()
    loaded.sampled = samples
    return loaded


Samples = list[tuple[list[int], npt.NDArray[np.float32]]]


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Samples:
    """The tokens before each sampled one, and the logits it was sampled from."""
    seen: Samples = []
    sample = ModelRunner._sample

    def record(self: ModelRunner, chunk: Chunk, row: int) -> Output:
        output = sample(self, chunk, row)
        before = chunk.sequence.tokens[: chunk.end]
        for number in range(len(output.tokens)):
            logits = np.array(self._context.logits(row + number))
            seen.append(([*before, *output.tokens[:number]], logits))
        return output

    monkeypatch.setattr(ModelRunner, "_sample", record)
    return seen


def test_a_conversation_that_goes_on(case: Case) -> None:
    prompt = digits("goes on", 100)
    reply = case.ask("0", prompt)
    for turn in ("1", "2", "3"):
        assert len(reply) == 8
        prompt += reply
        length = case.length(prompt)
        prompt += digits(turn, 20)
        reply = case.ask(turn, prompt)
        assert case.cached(turn) == length - 1
    case.check()


def test_a_reply_that_is_made_again(case: Case) -> None:
    prompt = digits("again", 150)
    replies = {case.ask(name, prompt) for name in ("first", "second", "third")}
    if case.name != "starter":
        assert len(replies) == 1
    assert case.cached("third") == case.length(prompt) - 1
    case.check()


def test_a_last_message_that_is_edited(case: Case) -> None:
    question = digits("question", 90)
    case.say("first", question)
    case.run()
    case.say("edited", digits("edited", 80))
    case.say("first again", question, "12", digits("more", 9))
    case.run()
    assert case.cached("edited") >= 100, "the system prompt is not computed again"
    case.check()


def test_a_branch_from_the_middle(case: Case) -> None:
    prompt = digits("branch", 300)
    case.ask("whole", prompt)
    case.ask("branch", prompt[:100] + digits("other", 30))
    case.ask("whole again", prompt + "1")
    if case.name in CAN_BE_CUT:
        assert case.cached("branch") >= 100
    assert case.cached("whole again") >= 299
    case.check()


def test_a_prefix_that_is_copied_from_a_running_sequence(case: Case) -> None:
    prompt = digits("running", 120)
    case.submit("running", prompt, params={"max_tokens": 24})
    case.step(5)
    case.submit("joins", prompt + digits("joins", 7))
    case.submit("branches", prompt[:90] + digits("branches", 7))
    case.run()
    if case.name in CAN_BE_CUT:
        assert case.cached("joins") >= 120
        assert case.cached("branches") >= 90
    case.check()


def test_requests_that_arrive_at_once_with_the_same_prefix(case: Case) -> None:
    prompt = digits("at once", 200)
    for name in "abcdef":
        case.submit(name, prompt + name.replace("f", digits("f", 30)))
    case.run()
    if case.name in CAN_BE_CUT:
        assert all(case.cached(name) >= 199 for name in "bcdef")
    case.check()


def test_several_completions_of_one_prompt(case: Case) -> None:
    prompt = digits("several", 150)
    params = {"n": 4, "temperature": 2.0, "seed": 1}
    case.submit("several", prompt, params=params)
    case.run()
    assert len({tuple(tokens) for tokens, _ in case.sampled}) > 8, "they went their own ways"
    case.check()


def test_texts_to_score(case: Case) -> None:
    prompt = digits("score", 120)
    texts = ("123", "7", digits("long", 60), "124")
    case.submit("score", prompt, continuations=texts)
    case.run()
    scored = case.events[-1]
    assert isinstance(scored, Scored)
    assert case.cached("score") <= 2, "but for what begins every prompt"
    for text, score in zip(texts, scored.scores, strict=True):
        assert score.logprob == pytest.approx(
            logprob(case, prompt, text), abs=case.tolerance * score.tokens
        )


def logprob(case: Case, prompt: str, text: str) -> float:
    """The log-likelihood of a text in a fresh context."""
    from localchat.llama.logits import LogProbs

    tokenize = case.context._model.vocabulary.tokenize
    before = tokenize(prompt, add_special=True, parse_special=False)
    after = tokenize(text, add_special=False, parse_special=False)
    context = case.fresh([*before, *after])
    rows = range(len(before) - 1, len(before) + len(after) - 1)
    return sum(LogProbs.after(context, row).of(t) for row, t in zip(rows, after, strict=True))


@pytest.mark.parametrize("steps", [1, 4])
def test_a_request_that_is_cancelled_and_asked_again(case: Case, steps: int) -> None:
    prompt = digits(f"cancelled {steps}", 700)
    case.submit("cancelled", prompt)
    case.step(steps)
    case.engine.cancel("cancelled")
    case.run()
    case.ask("again", prompt + "1")
    if case.name in CAN_BE_CUT:
        assert case.cached("again") >= 512
    case.check()


@pytest.mark.parametrize("aborted_step", [0, 1, 3])
def test_a_step_that_is_aborted(
    case: Case, aborted_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = digits(f"aborted {aborted_step}", 600)
    case.submit("aborted", prompt)
    case.submit("beside", digits(f"beside {aborted_step}", 30))
    case.step(aborted_step)
    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "clear_abort", ModelRunner.abort)
        case.step()
    case.run()
    case.ask("next", prompt + case.text("aborted") + "1")
    case.check()


def test_an_aborted_step_of_several_leaves_no_wrong_state_in_a_slot_beside_them(
    case: Case, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = new_case(case.name, case.path)
    new.sampled = samples
    new.submit("before", digits("before", 40), params={"max_tokens": 30})
    new.step()
    prompt = digits("between", 80)
    new.submit("between", prompt, params={"max_tokens": 4})
    new.step(6)
    assert len(new.text("between")) == 4, "its state lies idle behind that of the running one"
    new.submit("behind", digits("behind", 40))
    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "clear_abort", ModelRunner.abort)
        new.step()  # states of the first and the third would come to lie side by side
    new.ask("goes on", prompt + new.text("between") + "123")
    if case.name in CAN_BE_CUT:
        assert new.cached("goes on") >= 83
    new.check()


def test_a_sequence_that_gave_way_and_came_back(case: Case, samples: Samples) -> None:
    small = new_case(case.name, case.path, replace(OPTIONS, context=512))
    small.sampled = samples
    preempted = []
    preempt = small.engine._scheduler._preempt

    def note(sequence: Sequence, batch: Any) -> None:
        preempted.append(sequence.request.id)
        preempt(sequence, batch)

    small.engine._scheduler._preempt = note  # type: ignore[method-assign]
    for name in ("old", "new"):
        small.submit(name, digits(f"gives way {name}", 200), params={"max_tokens": 80})
    small.run()
    assert preempted == ["new"]
    assert all(len(small.text(name)) == 80 for name in ("old", "new"))
    small.check()


def test_a_conversation_that_was_saved_by_an_engine_that_left(
    case: Case, samples: Samples, tmp_path: Path
) -> None:
    before = new_case(case.name, case.path, snapshots=tmp_path)
    prompt = digits("saved", 300)
    prompt += before.ask("before", prompt, conversation="chat")
    before.engine.close(5.0)
    assert len(list(tmp_path.glob("*.snapshot"))) == 1
    after = new_case(case.name, case.path, snapshots=tmp_path)
    samples.clear()
    after.sampled = samples
    length = after.length(prompt)
    reply = after.ask("after", prompt + digits("after", 20), conversation="chat")
    assert after.cached("after") == length - 1
    after.ask("goes on", prompt + digits("after", 20) + reply + "1", conversation="chat")
    assert after.cached("goes on") > length
    after.ask("branches", prompt[:150] + digits("branches", 20))
    after.ask("regenerated", prompt + digits("after", 20), conversation="chat")
    after.check()


def test_a_saved_state_that_llama_cpp_does_not_take_is_computed(
    case: Case, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = new_case(case.name, case.path, snapshots=tmp_path)
    prompt = digits("refused", 700)
    prompt += before.ask("before", prompt, conversation="chat")
    before.engine.close(5.0)
    after = new_case(case.name, case.path, snapshots=tmp_path)
    after.sampled = samples
    monkeypatch.setattr("localchat.llama.state.restore", lambda *_: False)
    decode, interrupted = Context.decode, iter([True, False, True])

    def interrupt(self: Context, batch: Batch) -> bool:
        """Someone cancels, or an interactive request arrives, while the state is made up for."""
        if next(interrupted, False):
            self.abort()
        return decode(self, batch)

    monkeypatch.setattr(Context, "decode", interrupt)
    after.ask("after", prompt + "1")
    assert not [event for event in after.events if type(event).__name__ == "Failed"]
    after.check()


class Known(NgramLookup):
    """Guesses the tokens that a plain run gave, but for every seventh."""

    reply: list[int]
    right = 0

    def guess(self, sequence: Sequence, most: int) -> list[int]:
        done = sequence.num_completion_tokens
        guesses = self.reply[done : done + most]
        return [token + (done + i) % 7 // 6 for i, token in enumerate(guesses)]


def test_tokens_that_were_guessed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.name not in CAN_BE_CUT:
        pytest.skip("memory that can't be cut can't forget a wrong guess")
    prompt = digits("guessed", 80)
    plain = case.ask("plain", prompt, params={"max_tokens": 60}, speculate=False, reuse_cache=False)
    tokenize = case.context._model.vocabulary.tokenize
    Known.reply = tokenize(plain, add_special=False, parse_special=False)[-len(plain) :]
    monkeypatch.setattr(NgramLookup, "guess", Known.guess)
    # Whether guessing pays is measured in seconds, which no test may depend on.
    monkeypatch.setattr(Speculation, "_learn", lambda self, record, length: None)
    monkeypatch.setattr(NgramLookup, "reply", Known.reply, raising=False)
    runs = []
    run = ModelRunner.run
    monkeypatch.setattr(ModelRunner, "run", lambda self, b: runs.append(b) or run(self, b))  # type: ignore[func-returns-value]
    guessed = case.ask("guessed", prompt, params={"max_tokens": 60})
    assert len(runs) < (60 if case.name == "starter" else 45)
    if case.name != "starter":
        assert guessed == plain
    case.ask("next", prompt + guessed + "1")
    assert case.cached("next") >= 130
    case.check()


# Unlucky orders are rare: many short runs meet more of them than a long one.
SEEDS = [pytest.param(seed, marks=[pytest.mark.long] if seed >= 5 else []) for seed in range(12)]


@pytest.mark.parametrize("seed", SEEDS)
def test_some_busy_minutes_in_a_small_context(case: Case, samples: Samples, seed: int) -> None:
    """Whatever comes: shared prefixes, priorities, cancellations, steps that are aborted."""
    chance = random.Random(f"{case.name} {seed}")
    small = new_case(case.name, case.path, replace(OPTIONS, context=512, parallel=3))
    small.sampled = samples
    runner = small.engine._runner
    assert isinstance(runner, ModelRunner)
    clear = runner.clear_abort
    runner.clear_abort = lambda: runner.abort() if chance.random() < 0.1 else clear()  # type: ignore[method-assign]
    prompts = [digits(("hour", number), 90) for number in range(3)]
    for number in range(10):
        prompt = chance.choice(prompts)[: chance.choice((40, 90))] + digits(number, 30)
        prompts.append(prompt[:200])
        small.submit(
            f"{number}",
            prompt,
            priority=chance.choice(("interactive", "batch")),
            reuse_cache=chance.random() < 0.9,
            conversation=chance.choice((None, "a", "b")),
            params={"max_tokens": chance.randrange(1, 40), "n": chance.choice((1, 1, 2))},
        )
        small.step(chance.randrange(12))
        if chance.random() < 0.3:
            small.engine.cancel(f"{chance.randrange(number + 1)}")
    runner.clear_abort = clear  # type: ignore[method-assign]
    small.run()
    ends = [event.request_id for event in small.events if isinstance(event, Finished)]
    assert sorted(ends, key=int) == [f"{number}" for number in range(10)]
    small.check()
    assert small.engine.num_requests == 0
    assert not small.engine._completions
    assert not runner._samplers
    assert small.engine._scheduler.slots.num_idle == 5


def test_the_comparison_finds_a_single_wrong_token(
    case: Case, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Batch.add

    def wrong(self: Batch, token: int, position: int, sequence: int, wants: bool) -> None:
        add(self, token + (position == 50), position, sequence, wants)

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "add", wrong)
        case.ask("wrong", digits("wrong", 60), reuse_cache=False)
    assert case.difference() > 1.5 * case.tolerance


def test_the_comparison_finds_two_sequences_that_were_swapped(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        case.submit(name, digits(f"swapped {name}", 60), reuse_cache=False)
    case.step()
    first, second = (sequence.slot for sequence in case.engine._scheduler.running)
    assert first is not None
    assert second is not None
    case.check()
    add = Batch.add

    def swap(self: Batch, token: int, position: int, sequence: int, wants: bool) -> None:
        other = {first: second, second: first}.get(sequence, sequence)
        add(self, token, position, other, wants)

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "add", swap)
        case.step()
    assert case.difference() > 1.5 * case.tolerance
    for name in "ab":
        case.engine.cancel(name)
    case.run()
