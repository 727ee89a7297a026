"""Sampler chains: from the logits of a row to the next token."""

from __future__ import annotations

from typing import Any

from localchat.errors import EngineFailed
from localchat.llama.context import Context
from localchat.llama.library import C
from localchat.llama.vocabulary import Vocabulary
from localchat.types import SamplingParams

_PENALTY_WINDOW = 64  # tokens; llama.cpp's default


class Sampler:
    """The sampler steps of one sequence, with the state they keep (random draw, penalties)."""

    def __init__(self, params: SamplingParams, vocabulary: Vocabulary, seed: int) -> None:
        self._chain: Any = _checked(
            C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        )
        for step in _steps(params, vocabulary, seed):
            C.llama_sampler_chain_add(self._chain, _checked(step))

    def sample(self, context: Context, row: int) -> int:
        """Draws the token after the batch's row `row` and remembers it."""
        return C.llama_sampler_sample(self._chain, context.handle, row)

    def close(self) -> None:
        if self._chain:
            C.llama_sampler_free(self._chain)
            self._chain = None


def _steps(params: SamplingParams, vocabulary: Vocabulary, seed: int) -> list[Any]:
    steps = []
    if params.repeat_penalty != 1.0:
        steps.append(
            C.llama_sampler_init_penalties(
                vocabulary.size, _PENALTY_WINDOW, params.repeat_penalty, 0.0, 0.0
            )
        )
    if params.temperature <= 0.0:
        return [*steps, C.llama_sampler_init_greedy()]
    if params.top_k > 0:
        steps.append(C.llama_sampler_init_top_k(params.top_k))
    if params.top_p < 1.0:
        steps.append(C.llama_sampler_init_top_p(params.top_p, 1))
    if params.min_p > 0.0:
        steps.append(C.llama_sampler_init_min_p(params.min_p, 1))
    steps.append(C.llama_sampler_init_temp(params.temperature))
    steps.append(C.llama_sampler_init_dist(seed))
    return steps


def _checked(pointer: Any) -> Any:
    # llama.cpp adds a NULL step without a word and crashes at the first token.
    if not pointer:
        raise EngineFailed("llama.cpp could not create a sampler.")
    return pointer
