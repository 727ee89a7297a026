from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.state import restore, save
from localchat.types import KVType
from tests.llama.conftest import NewContext
from tests.llama.steps import decode, difference

TOLERANCE = 1e-6
"""Absolute, on a logit. Measured: 0. A state is what was computed, bit for bit."""
LENGTH = 150
TOKENS = [*range(10, 10 + LENGTH)]
CONTINUED = [*range(170, 200)]
OTHER = CONTINUED[::-1]
HYBRID = ("jamba", "lfm2")
WITHOUT_CUTS = ("mamba", *HYBRID)

# What a process that knows nothing of the one that saved the state makes of it.
ELSEWHERE = """
import json, sys
from pathlib import Path
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.state import restore
from tests.llama.steps import decode
library.start(lambda line: None)
model, state, start, tokens = sys.argv[1:]
context = Context(Model(model), n_ctx=1024, n_batch=64, n_sequences=2, n_threads=1)
assert restore(context, 1, Path(state).read_bytes())
print(json.dumps(decode(context, json.loads(tokens), sequence=1, start=int(start))))
"""

Tiny = Callable[..., Path]


@pytest.fixture(params=["llama", "gemma3", *WITHOUT_CUTS])
def any_model(request: pytest.FixtureRequest, tiny: Tiny) -> Model:
    return Model(str(tiny(request.param)))


@pytest.fixture(params=["gemma3", *HYBRID])
def mixed_model(request: pytest.FixtureRequest, tiny: Tiny) -> Model:
    """One that has memory of two kinds."""
    return Model(str(tiny(request.param)))


def fresh(model: Model, new_context: NewContext) -> list[float]:
    """The logits of a context that has seen nothing else."""
    return decode(new_context(of=model), TOKENS + CONTINUED)


class TestWholeState:
    def test_another_context_and_sequence_go_on_as_if_it_were_theirs(
        self, any_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=any_model)
        decode(context, TOKENS, sequence=1)
        state = save(context, 1)
        assert isinstance(state, bytearray)
        for form in (state, bytes(state), memoryview(state)):
            other = new_context(of=any_model, n_ctx=1024)
            decode(other, OTHER, sequence=2)
            decode(other, OTHER, sequence=0)
            assert restore(other, 2, form)
            assert other.memory.length(2) == LENGTH
            logits = decode(other, CONTINUED, sequence=2, start=LENGTH)
            assert difference(logits, fresh(any_model, new_context)) < TOLERANCE
        without = decode(new_context(of=any_model), CONTINUED)
        assert difference(without, logits) > 100 * TOLERANCE, "the comparison can fail"

    def test_a_saved_sequence_and_its_neighbours_are_left_alone(
        self, any_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=any_model)
        decode(context, TOKENS, sequence=0)
        decode(context, OTHER, sequence=1)
        assert restore(context, 1, save(context, 0))
        for sequence in (0, 1):
            logits = decode(context, CONTINUED, sequence=sequence, start=LENGTH)
            assert difference(logits, fresh(any_model, new_context)) < TOLERANCE

    def test_the_starter_model_goes_on_in_another_process(
        self, model: Model, starter: Path, new_context: NewContext, tmp_path: Path
    ) -> None:
        text = "The quick brown fox jumps over the lazy dog. " * 20
        tokens = model.vocabulary.tokenize(text, add_special=False, parse_special=False)
        context = new_context()
        decode(context, tokens)
        file = tmp_path / "state"
        file.write_bytes(save(context, 0))
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, starter, file, str(len(tokens)), str(tokens[:9])],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=Path(__file__).parents[2],
        )
        logits = [float(number) for number in done.stdout.strip("[]\n").split(",")]
        expected = decode(context, tokens[:9], start=len(tokens))
        assert difference(logits, expected) < TOLERANCE

    def test_a_state_can_be_cut_where_its_memory_can(
        self, tiny: Tiny, new_context: NewContext
    ) -> None:
        model = Model(str(tiny("llama")))
        context = new_context(of=model)
        decode(context, TOKENS)
        assert restore(context, 3, save(context, 0))
        assert context.memory.cut(3, 100)
        logits = decode(context, TOKENS[100:] + CONTINUED, sequence=3, start=100)
        assert difference(logits, fresh(model, new_context)) < TOLERANCE

    def test_a_sliding_window_is_saved_without_what_has_left_it(
        self, tiny: Tiny, new_context: NewContext
    ) -> None:
        """So that such a state must be used whole, although llama.cpp lets it be cut."""
        model = Model(str(tiny("gemma3")))
        context = new_context(of=model)
        decode(context, TOKENS)
        assert restore(context, 3, save(context, 0))
        assert context.memory.cut(3, 100)
        logits = decode(context, TOKENS[100:] + CONTINUED, sequence=3, start=100)
        assert difference(logits, fresh(model, new_context)) > 0.1

    @pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
    def test_a_quantized_cache_is_saved_as_it_is(
        self, tiny: Tiny, new_context: NewContext, kv_type: KVType
    ) -> None:
        model = Model(str(tiny("llama")))
        contexts = [
            Context(model, n_ctx=512, n_batch=64, n_sequences=2, n_threads=1, kv_type=kv_type)
            for _ in range(2)
        ]
        expected = decode(contexts[0], TOKENS + CONTINUED)
        assert contexts[0].memory.cut(0, LENGTH)
        state = save(contexts[0], 0)
        assert restore(contexts[1], 1, state)
        logits = decode(contexts[1], CONTINUED, sequence=1, start=LENGTH)
        assert difference(logits, expected) < TOLERANCE
        assert not restore(new_context(of=model), 0, state), "another type of cache"
        for context in contexts:
            context.close()


class TestPartialState:
    def test_it_takes_a_sequence_back_to_where_it_was_saved(
        self, mixed_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=mixed_model)
        decode(context, TOKENS)
        partial = save(context, 0, partial=True)
        assert len(partial) < len(save(context, 0))
        for _ in range(2):
            decode(context, OTHER, start=LENGTH)
            assert restore(context, 0, partial, partial=True)
            assert context.memory.cut(0, LENGTH)
            assert context.memory.length(0) == LENGTH
            logits = decode(context, CONTINUED, start=LENGTH)
            assert difference(logits, fresh(mixed_model, new_context)) < TOLERANCE
            assert restore(context, 0, partial, partial=True)
            assert context.memory.cut(0, LENGTH)

    def test_without_a_cut_the_cells_behind_it_would_be_seen(
        self, mixed_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=mixed_model)
        decode(context, TOKENS)
        partial = save(context, 0, partial=True)
        decode(context, OTHER, start=LENGTH)
        assert restore(context, 0, partial, partial=True)
        logits = decode(context, CONTINUED, start=LENGTH)
        assert difference(logits, fresh(mixed_model, new_context)) > 1e-3

    def test_it_completes_the_copy_of_a_longer_sequence(
        self, mixed_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=mixed_model)
        decode(context, TOKENS)
        partial = save(context, 0, partial=True)
        decode(context, OTHER, start=LENGTH)
        context.memory.copy(0, 2, LENGTH)
        assert restore(context, 2, partial, partial=True)
        assert context.memory.cut(2, LENGTH)
        logits = decode(context, CONTINUED, sequence=2, start=LENGTH)
        assert difference(logits, fresh(mixed_model, new_context)) < TOLERANCE

    @pytest.mark.parametrize("architecture", ["llama", "mamba"])
    def test_memory_of_one_kind_is_saved_whole(
        self, tiny: Tiny, new_context: NewContext, architecture: str
    ) -> None:
        context = new_context(of=Model(str(tiny(architecture))))
        decode(context, TOKENS)
        assert save(context, 0, partial=True) == save(context, 0)


class TestRefusal:
    def test_what_is_cut_short_lengthened_or_empty(
        self, any_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=any_model)
        decode(context, TOKENS)
        state = bytes(save(context, 0))
        for wrong in (b"", bytearray(), state[:9], state[:-1], state + b"\0"):
            decode(context, OTHER, sequence=1)
            assert not restore(context, 1, wrong)
            assert context.memory.length(1) == 0
        assert restore(context, 1, state)

    def test_more_tokens_than_cells(self, tiny: Tiny, new_context: NewContext) -> None:
        model = Model(str(tiny("llama")))
        context = new_context(of=model)
        decode(context, TOKENS + TOKENS)
        small = new_context(of=model, n_ctx=256)
        assert not restore(small, 0, save(context, 0))
        decode(small, TOKENS)

    def test_a_partial_state_that_is_refused_leaves_nothing(
        self, mixed_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=mixed_model)
        decode(context, TOKENS)
        partial = save(context, 0, partial=True)
        assert not restore(context, 0, partial[:-1], partial=True)
        assert context.memory.length(0) == 0
        logits = decode(context, TOKENS + CONTINUED)
        assert difference(logits, fresh(mixed_model, new_context)) < TOLERANCE

    def test_a_sequence_that_holds_nothing_empties_another(
        self, any_model: Model, new_context: NewContext
    ) -> None:
        context = new_context(of=any_model)
        decode(context, OTHER, sequence=1)
        assert restore(context, 1, save(context, 0))
        assert context.memory.length(1) == 0
