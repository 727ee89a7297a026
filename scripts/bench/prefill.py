"""How fast is a prompt read, against llama-bench? See README.md beside this file."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from common import Report, alternate, engine, llama_bench, parser, prepare

from localchat.client.base import EngineClient
from localchat.events import Event, Failed, Finished, Rendered, TextDelta
from localchat.types import GenerationRequest, SamplingParams

_TOKENS = 512
_GOAL = 0.97
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_WORDS = ["air", "box", "cat", "day", "fox", "gas", "ice", "key", "map", "oil", "sun", "tea"]


def main() -> None:
    arguments = parser("tokens/s of prefill, through the engine process", rounds=10).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("prefill", setup)
        prompts = _prompts(client)
        measures = {
            "localchat": lambda: _prefill(client, next(prompts)),
            "llama-bench": lambda: llama_bench(setup, "-p", str(_TOKENS), "-n", "0"),
        }
        values = alternate(setup.rounds, measures, "tokens/s")
        medians = [report.add_rounds(name, values[name], "tokens/s").median for name in values]
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _prefill(client: EngineClient, prompt: str) -> float:
    """Prompt tokens per second from handing the request in to the first token, seen from here."""
    params = SamplingParams(temperature=0.0, max_tokens=1)
    request = GenerationRequest("prefill", prompt=prompt, params=params, reuse_cache=False)
    arrived = 0.0
    start = time.perf_counter()
    client.submit(request)
    for event in client.events():
        # A first token that is no text of its own shows only as the end.
        if isinstance(event, TextDelta | Finished):
            arrived = arrived or time.perf_counter()
        _check(event)
    return _TOKENS / (arrived - start)


def _prompts(client: EngineClient) -> Iterator[str]:
    """Prompts of exactly so many tokens, all different, the same ones in every run."""
    draw = random.Random(512)
    while True:
        words = ["".join(draw.choices(_SYLLABLES, k=3)) for _ in range(_TOKENS // 4)]
        count = _count(client, words)
        while count < _TOKENS:
            # Short words are a token each: this closes in on the number.
            words += draw.choices(_WORDS, k=max(1, (_TOKENS - count) * 9 // 10))
            count = _count(client, words)
        if count == _TOKENS:
            yield " ".join(words)


def _count(client: EngineClient, words: list[str]) -> int:
    client.submit(GenerationRequest("count", prompt=" ".join(words), render_only=True))
    count = 0
    for event in client.events():
        _check(event)
        if isinstance(event, Rendered):
            count = event.prompt_tokens
    return count


def _check(event: Event) -> None:
    if isinstance(event, Failed):
        sys.exit(f"Error: {event.message}")
    if isinstance(event, Finished):
        assert event.usage.prompt_tokens == _TOKENS
        assert event.usage.cached_tokens == 0


if __name__ == "__main__":
    main()
