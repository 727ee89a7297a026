"""Sampler chains: from the logits of a row to the next token."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from localchat.errors import EngineFailed, UsageError
from localchat.llama.context import Context
from localchat.llama.library import C
from localchat.llama.matcher import Matcher
from localchat.llama.vocabulary import Vocabulary
from localchat.types import SamplingParams

_PENALTY_WINDOW = 64  # tokens; llama.cpp's default


class Sampler:
    """The sampler steps of one sequence, with their state (random draw, penalties, grammar).

    `grammar` is one that `localchat.engine.grammar` made. It is asked about the token that the
    other steps have drawn; only if it refuses that one are the steps run again, over the tokens
    it allows. So most tokens cost 0.4 ms more, and a refused one 2.5 ms (50,000 tokens). Without
    top_k, top_p and min_p the probabilities are those of asking the grammar first.
    """

    def __init__(
        self, params: SamplingParams, vocabulary: Vocabulary, seed: int, grammar: str | None = None
    ) -> None:
        self._vocabulary = vocabulary
        self._matcher = Matcher(grammar, vocabulary) if grammar is not None else None
        self._chain: Any = _checked(
            C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        )
        for step in _steps(params, vocabulary, seed):
            C.llama_sampler_chain_add(self._chain, _checked(step))

    def constrain(self, grammar: str) -> None:
        """From the next token on, the text must match `grammar`."""
        self._matcher = Matcher(grammar, self._vocabulary)

    def remember(self, tokens: list[int]) -> None:
        """The text has begun with these tokens: penalties count the last of them."""
        for token in tokens[-_PENALTY_WINDOW:]:
            C.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, row: int) -> int:
        """Draws the token after the batch's row `row` and remembers it.

        With a grammar, a token that ends the text is drawn only where the grammar is complete.
        Raises EngineFailed if the grammar can't be followed any further.
        """
        if self._matcher is None:
            return C.llama_sampler_sample(self._chain, context.handle, row)
        logits = context.logits(row)
        token = self._draw(_all_entries(self._vocabulary.size), logits)
        if not self._matcher.accept(token):
            allowed = self._matcher.allowed()
            token = self._draw(
                _entries(itertools.compress(range(len(allowed)), allowed)),
                array("f", itertools.compress(logits, allowed)),
            )
            if not self._matcher.accept(token):
                raise EngineFailed("The grammar refuses a token that it had allowed.")
        C.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        if self._chain:
            C.llama_sampler_free(self._chain)
            self._chain = None

    def _draw(self, entries: bytes, logits: Any) -> int:
        """The token that the chain selects of `entries`, whose logits are given; not remembered."""
        count = len(logits)
        data = (C.llama_token_data * count).from_buffer_copy(entries)
        memoryview(data).cast("B").cast("f")[1::3] = memoryview(logits)
        candidates = C.llama_token_data_array(
            ctypes.cast(data, C.llama_token_data_p), count, -1, False
        )
        C.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        if 0 <= candidates.selected < candidates.size:
            chosen = candidates.data[candidates.selected]
            if chosen.logit != -math.inf:
                return chosen.id
        raise EngineFailed("All tokens that could come next are forbidden by their biases.")


def token_biases(
    biases: Iterable[tuple[int | str, float]],
    vocabulary_size: int,
    tokenize: Callable[[str], list[int]],
) -> tuple[tuple[int, float], ...]:
    """`SamplingParams.logit_bias` with token ids for texts; those of one token are added up.

    Raises UsageError for an id outside the vocabulary, a text without tokens, and a bias that is
    neither finite nor -inf.
    """
    found: dict[int, float] = {}
    for entry, bias in biases:
        if math.isnan(bias) or bias == math.inf:
            raise UsageError(f"A logit bias is a number or -inf, not {bias}.")
        tokens = tokenize(entry) if isinstance(entry, str) else [entry]
        if not tokens or not all(0 <= token < vocabulary_size for token in tokens):
            raise UsageError(f"The model has no token {entry!r} to bias.")
        for token in tokens:
            found[token] = found.get(token, 0.0) + bias
    return tuple(found.items())


def _steps(params: SamplingParams, vocabulary: Vocabulary, seed: int) -> list[Any]:
    steps = []
    if params.logit_bias:
        biases = [C.llama_logit_bias(token, bias) for token, bias in params.logit_bias]
        count = len(biases)
        steps.append(
            C.llama_sampler_init_logit_bias(
                vocabulary.size, count, (C.llama_logit_bias * count)(*biases)
            )
        )
    penalties = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        steps.append(C.llama_sampler_init_penalties(vocabulary.size, _PENALTY_WINDOW, *penalties))
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


def _entries(tokens: Iterable[int]) -> bytes:
    """llama.cpp's candidates: id, logit and p of each token, four bytes each; only ids are set."""
    ids = array("i", tokens)
    fields = array("i", bytes(12 * len(ids)))
    fields[0::3] = ids
    return fields.tobytes()


@functools.lru_cache(maxsize=1)
def _all_entries(count: int) -> bytes:
    return _entries(range(count))  # kept: to copy them is all that each token costs then


def _checked(pointer: Any) -> Any:
    # llama.cpp adds a NULL step without a word and crashes at the first token.
    if not pointer:
        raise EngineFailed("llama.cpp could not create a sampler.")
    return pointer
