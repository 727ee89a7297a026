"""How fast is a prompt read, against llama-bench? See README.md beside this file."""

from __future__ import annotations

import sys
import time

from common import Report, alternate, engine, llama_bench, parser, prepare
from texts import passages

from localchat.client.base import EngineClient
from localchat.events import Event, Failed, Finished, TextDelta
from localchat.types import GenerationRequest, SamplingParams

_TOKENS = 512
_GOAL = 0.97


def main() -> None:
    arguments = parser("tokens/s of prefill, through the engine process", rounds=10).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("prefill", setup)
        prompts = passages(client, _TOKENS, seed=512)
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


def _check(event: Event) -> None:
    if isinstance(event, Failed):
        sys.exit(f"Error: {event.message}")
    if isinstance(event, Finished):
        assert event.usage.prompt_tokens == _TOKENS
        assert event.usage.cached_tokens == 0


if __name__ == "__main__":
    main()
