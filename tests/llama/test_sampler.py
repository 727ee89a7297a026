from __future__ import annotations

import pytest

from localchat.errors import EngineFailed
from localchat.llama import library
from localchat.llama.model import Model
from localchat.llama.sampler import Sampler
from localchat.types import SamplingParams
from tests.llama.conftest import NewContext
from tests.llama.steps import decode


def draw(
    model: Model, new_context: NewContext, params: SamplingParams, seed: int, count: int = 12
) -> list[int]:
    context = new_context(n_ctx=256)
    prompt = model.vocabulary.tokenize("Once", add_special=False, parse_special=False)
    decode(context, prompt)
    sampler = Sampler(params, model.vocabulary, seed)
    tokens = [sampler.sample(context, len(prompt) - 1) for _ in range(count)]
    sampler.close()
    sampler.close()
    return tokens


def test_the_same_seed_draws_the_same_tokens(model: Model, new_context: NewContext) -> None:
    params = SamplingParams(temperature=1.5)
    first = draw(model, new_context, params, seed=1)
    assert first == draw(model, new_context, params, seed=1)
    assert first != draw(model, new_context, params, seed=2)


def test_only_the_likeliest_token_is_left_by_top_k_of_one(
    model: Model, new_context: NewContext
) -> None:
    greedy = draw(model, new_context, SamplingParams(temperature=0.0), seed=1)
    assert draw(model, new_context, SamplingParams(top_k=1), seed=2) == greedy
    assert draw(model, new_context, SamplingParams(top_k=0, top_p=1e-6), seed=2) == greedy
    assert draw(model, new_context, SamplingParams(top_k=0, min_p=1.0), seed=2) == greedy


def test_a_repeat_penalty_moves_greedy_decoding_to_another_token(
    model: Model, new_context: NewContext
) -> None:
    params = SamplingParams(temperature=0.0, repeat_penalty=5.0)
    assert len(set(draw(model, new_context, params, seed=1))) > 1


def test_a_step_llama_cpp_cannot_make_is_an_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library.C, "llama_sampler_init_greedy", lambda: None)
    with pytest.raises(EngineFailed):
        Sampler(SamplingParams(temperature=0.0), model.vocabulary, 0)
