"""Prompts: made-up words, as many tokens as asked for, and replies of a fixed length."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Iterator

from common import Setup

from localchat.client.base import EngineClient
from localchat.events import Failed, Rendered
from localchat.llama import library
from localchat.llama.model import Model
from localchat.types import GenerationRequest, Message, SamplingParams

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_WORDS = ["air", "box", "cat", "day", "fox", "gas", "ice", "key", "map", "oil", "sun", "tea"]


def passages(client: EngineClient, tokens: int, seed: int) -> Iterator[str]:
    """Texts of exactly so many tokens, all different, the same ones in every run."""
    draw = random.Random(seed)
    while True:
        words = ["".join(draw.choices(_SYLLABLES, k=3)) for _ in range(max(1, tokens // 4))]
        count = count_tokens(client, " ".join(words))
        while count < tokens:
            # Short words are a token each: this closes in on the number.
            words += draw.choices(_WORDS, k=max(1, (tokens - count) * 9 // 10))
            count = count_tokens(client, " ".join(words))
        if count == tokens:
            yield " ".join(words)


def numbers(start: int, count: int) -> str:
    """Numbers in a row: every model goes on counting."""
    return " ".join(f"{number}," for number in range(start, start + count))


def count_tokens(client: EngineClient, prompt: str | tuple[Message, ...]) -> int:
    """Of a raw prompt, or of messages in the chat template."""
    if isinstance(prompt, str):
        request = GenerationRequest("count", prompt=prompt, render_only=True)
    else:
        request = GenerationRequest("count", prompt, render_only=True)
    client.submit(request)
    count = 0
    for event in client.events():
        match event:
            case Rendered(prompt_tokens=count):
                pass
            case Failed(message=message):
                raise SystemExit(f"Error: {message}")
    return count


def fixed_length(setup: Setup, tokens: int) -> SamplingParams:
    """Greedy, and exactly so many tokens: those that would end the reply are forbidden."""
    bias = tuple((token, -math.inf) for token in _end_tokens(setup.model.path))
    return SamplingParams(logit_bias=bias, temperature=0.0, max_tokens=tokens)


@functools.cache
def _end_tokens(path: str) -> list[int]:
    library.start(lambda line: None)
    model = Model(path)
    try:
        vocabulary = model.vocabulary
        return [token for token in range(vocabulary.size) if vocabulary.is_end(token)]
    finally:
        model.close()
