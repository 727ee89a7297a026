from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.errors import EngineFailed
from localchat.llama.batch import Batch
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.types import SamplingParams
from tests.llama.conftest import NewContext
from tests.llama.steps import CHUNK, TOLERANCE, decode, difference

PREFIX = "The quick brown fox jumps over the lazy dog, and the dog does not mind it at all. " * 3
QUESTION = "What did the dog do then, and why?"
OTHER = "A list of the planets in order of their distance from the sun: Mercury, Venus,"

# In a process of its own: the address space is limited, so that it fails on any machine.
TOO_LARGE = """
import resource, sys
from localchat.errors import OutOfSpace
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
library.start(lambda line: None)
model = Model(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
try:
    Context(model, n_ctx=2**18, n_batch=8, n_sequences=1, n_threads=1)
except OutOfSpace as error:
    print(error)
"""


def tokens_of(model: Model, text: str) -> list[int]:
    return model.vocabulary.tokenize(text, add_special=False, parse_special=False)


@pytest.fixture(scope="module")
def prefix(model: Model) -> list[int]:
    return tokens_of(model, PREFIX)


@pytest.fixture(scope="module")
def question(model: Model) -> list[int]:
    return tokens_of(model, QUESTION)


@pytest.fixture(scope="module")
def other(model: Model) -> list[int]:
    return tokens_of(model, OTHER)


@pytest.fixture(scope="module")
def expected(model: Model, prefix: list[int], question: list[int]) -> list[float]:
    """Logits after prefix and question in a context that has seen nothing else."""
    context = Context(model, n_ctx=512, n_batch=128, n_sequences=1, n_threads=1)
    logits = decode(context, prefix + question)
    context.close()
    return logits


@pytest.mark.parametrize("chunk", [1, 7, 63])
def test_a_prompt_may_be_computed_in_chunks(
    new_context: NewContext,
    prefix: list[int],
    question: list[int],
    expected: list[float],
    chunk: int,
) -> None:
    logits = decode(new_context(), prefix + question, chunk=chunk)
    assert difference(logits, expected) < TOLERANCE


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_float_weights_give_nearly_the_same_in_chunks_of_any_size(
    tiny: Callable[..., Path], new_context: NewContext, chunk: int
) -> None:
    model = Model(str(tiny("llama")))
    tokens = [*range(10, 150)]
    fresh = decode(new_context(of=model, n_ctx=256), tokens)
    logits = decode(new_context(of=model, n_ctx=256), tokens, chunk=chunk)
    assert difference(logits, fresh) < TOLERANCE
    without_first = decode(new_context(of=model, n_ctx=256), tokens[1:])
    assert difference(without_first, fresh) > 10 * TOLERANCE, "the comparison can fail"


def test_a_prefix_that_is_left_after_a_cut_can_be_continued(
    new_context: NewContext,
    prefix: list[int],
    question: list[int],
    other: list[int],
    expected: list[float],
) -> None:
    context = new_context()
    decode(context, prefix + other)
    assert context.memory.length(0) == len(prefix) + len(other)
    assert context.memory.cut(0, len(prefix))
    assert context.memory.length(0) == len(prefix)
    logits = decode(context, question, start=len(prefix))
    assert difference(logits, expected) < TOLERANCE


def test_a_prefix_copied_from_another_sequence_can_be_continued(
    new_context: NewContext,
    prefix: list[int],
    question: list[int],
    other: list[int],
    expected: list[float],
) -> None:
    context = new_context()
    decode(context, prefix + other, sequence=2)
    context.memory.copy(2, 1, len(prefix))
    context.memory.clear(2)
    assert (context.memory.length(1), context.memory.length(2)) == (len(prefix), 0)
    logits = decode(context, question, sequence=1, start=len(prefix))
    assert difference(logits, expected) < TOLERANCE


def test_sequences_in_one_batch_do_not_see_each_other(
    new_context: NewContext,
    prefix: list[int],
    question: list[int],
    other: list[int],
    expected: list[float],
) -> None:
    length = len(prefix) + len(question) - 1
    padded = (other * 9)[:length]

    def last_logits(sequence: int) -> list[float]:
        context = new_context()
        decode(context, (prefix + question)[:-1], sequence=0)
        decode(context, padded, sequence=1)
        batch = Batch(2)
        batch.add(question[-1], length, sequence, True)
        batch.add(other[0], length, 1 - sequence, True)
        assert context.decode(batch)
        return list(context.logits(0))

    assert difference(last_logits(0), expected) < TOLERANCE
    swapped = difference(last_logits(1), expected)
    assert swapped > 100 * TOLERANCE, "the comparison can fail"


def test_greedy_decoding_is_deterministic(
    model: Model, new_context: NewContext, prefix: list[int]
) -> None:
    runs = []
    for _ in range(2):
        context = new_context()
        sampler = Sampler(SamplingParams(temperature=0.0), model.vocabulary, 0)
        logits = decode(context, prefix)
        row, tokens = (len(prefix) - 1) % CHUNK, list(prefix)
        for _ in range(6):
            tokens.append(sampler.sample(context, row))
            assert logits[tokens[-1]] == max(logits) == context.logit(row, tokens[-1])
            logits, row = decode(context, tokens[-1:], start=len(tokens) - 1), 0
        sampler.close()
        runs.append(tokens)
    assert runs[0] == runs[1]


@pytest.mark.alone
def test_an_abort_stops_a_long_prefill_and_its_rest_can_be_cut_away(
    model: Model, new_context: NewContext, prefix: list[int], other: list[int]
) -> None:
    context = new_context(n_ctx=1024, n_batch=512)
    decode(context, prefix)
    batch = Batch(512)
    for offset in range(512):
        batch.add(other[offset % len(other)], len(prefix) + offset, 0, False)
    aborted_at: list[float] = []

    def abort() -> None:
        aborted_at.append(time.monotonic())
        context.abort()

    timer = threading.Timer(0.2, abort)
    timer.start()
    finished = context.decode(batch)
    late = time.monotonic() - (aborted_at or [0.0])[0]
    timer.join()
    assert not finished
    assert late < 0.25

    context.clear_abort()
    assert context.memory.cut(0, len(prefix))
    logits = decode(context, other, start=len(prefix))
    fresh = new_context(n_ctx=1024, n_batch=512)
    decode(fresh, prefix)
    assert difference(logits, decode(fresh, other, start=len(prefix))) < TOLERANCE


def test_an_abort_is_forgotten_once_it_is_cleared(
    new_context: NewContext, question: list[int]
) -> None:
    context = new_context()
    batch = Batch(1)
    batch.add(question[0], 0, 0, True)
    context.abort()
    assert not context.decode(batch)
    context.clear_abort()
    context.memory.clear(0)
    assert context.decode(batch)


def test_more_tokens_than_cells_fail_and_leave_the_context_usable(
    new_context: NewContext, other: list[int]
) -> None:
    context = new_context(n_ctx=256)
    full = (other * 32)[:256]
    decode(context, full)
    with pytest.raises(EngineFailed, match="code 1"):
        decode(context, other[:1], sequence=1)
    context.memory.clear(0)
    decode(context, other[:1], sequence=1)


def test_a_position_that_leaves_a_gap_fails(new_context: NewContext, other: list[int]) -> None:
    context = new_context()
    decode(context, other)
    with pytest.raises(EngineFailed, match="code -1"):
        decode(context, other, start=len(other) + 5)


def test_a_batch_never_holds_more_rows_than_its_capacity() -> None:
    batch = Batch(1)
    batch.add(0, 0, 0, False)
    with pytest.raises(AssertionError):
        batch.add(0, 1, 0, False)
    batch.clear()
    assert len(batch) == 0
    batch.close()
    batch.close()


def test_logits_that_were_not_asked_for_are_an_error(
    new_context: NewContext, other: list[int]
) -> None:
    context = new_context()
    decode(context, other[:3])
    with pytest.raises(EngineFailed, match="no logits"):
        context.logits(0)
    with pytest.raises(EngineFailed, match="no logits"):
        context.logit(0, 0)


def test_a_context_too_large_for_memory_is_refused(starter: Path) -> None:
    command = [sys.executable, "-P", "-c", TOO_LARGE, str(starter)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("There is not enough memory for a context of 262,144 tokens")
    assert done.stderr == ""


class TestRecurrentMemory:
    """A state, not cells: it can be continued or forgotten, never cut."""

    @pytest.fixture
    def mamba(self, tiny: Callable[..., Path]) -> Model:
        return Model(str(tiny("mamba")))

    def test_only_memory_of_the_whole_can_be_cut(
        self, mamba: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=mamba, n_ctx=256)
        decode(context, [10, 11, 12, 13])
        assert mamba.has_recurrent_memory
        assert not context.memory.cut(0, 2)
        assert context.memory.length(0) == 4
        context.memory.clear(0)
        assert context.memory.length(0) == 0

    def test_a_state_can_be_continued(self, mamba: Model, new_context: NewContext) -> None:
        tokens = [*range(10, 60)]
        whole = decode(new_context(of=mamba, n_ctx=256), tokens)
        context = new_context(of=mamba, n_ctx=256)
        decode(context, tokens[:20], sequence=1)
        continued = decode(context, tokens[20:], sequence=1, start=20, chunk=7)
        assert difference(continued, whole) < TOLERANCE
        other = decode(context, tokens[::-1], sequence=2)
        assert difference(other, whole) > 10 * TOLERANCE, "the comparison can fail"

    @pytest.fixture(params=["mamba", "jamba", "lfm2"])
    def abortable(
        self, request: pytest.FixtureRequest, tiny: Callable[..., Path], new_context: NewContext
    ) -> Context:
        """Holds four sequences, of which 2 lies between 0 and 1."""
        context = new_context(of=Model(str(tiny(request.param))), n_ctx=256)
        for sequence in (0, 2, 1, 3):
            decode(context, self.tokens(sequence), sequence=sequence)
        return context

    @staticmethod
    def tokens(sequence: int) -> list[int]:
        return [*range(10 + 10 * sequence, 20 + 10 * sequence)]

    @staticmethod
    def abort(context: Context, *sequences: int) -> list[int]:
        """Aborts a step of one token each; how much of each sequence is left."""
        batch = Batch(len(sequences))
        for sequence in sequences:
            batch.add(100, context.memory.length(sequence), sequence, True)
        context.abort()
        assert not context.decode(batch)
        context.clear_abort()
        batch.close()
        return [context.memory.length(sequence) for sequence in range(4)]

    def test_an_abort_costs_a_sequence_that_is_alone_what_it_holds(
        self, abortable: Context, new_context: NewContext
    ) -> None:
        assert self.abort(abortable, 2) == [10, 10, 0, 10]
        for sequence in range(4):
            held = abortable.memory.length(sequence)
            tokens = [*self.tokens(sequence), 101]
            fresh = decode(new_context(of=abortable._model, n_ctx=256), tokens)
            logits = decode(abortable, tokens[held:], sequence=sequence, start=held)
            assert difference(logits, fresh) < TOLERANCE

    def test_an_abort_of_several_leaves_nothing_that_others_could_find(
        self, abortable: Context, new_context: NewContext
    ) -> None:
        abortable.memory.clear(2)
        assert self.abort(abortable, 0, 1) == [0] * 4
        for sequence in range(4):
            fresh = decode(new_context(of=abortable._model, n_ctx=256), self.tokens(sequence))
            logits = decode(abortable, self.tokens(sequence), sequence=sequence)
            assert difference(logits, fresh) < TOLERANCE
