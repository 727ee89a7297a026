"""What does the engine's own process cost? See README.md beside this file."""

from __future__ import annotations

import itertools
import time

from common import Report, Setup, alternate, engine, parser, prepare
from inside import InsideClient
from streams import ask_all
from texts import fixed_length, passages

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest

_STREAMS, _TOKENS = 16, 128
_PROMPT = 16  # tokens
_GOAL = 0.97


def main() -> None:
    arguments = parser("tokens/s of 16 streams, by socket and in-process", rounds=10).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("boundary", setup)
        prompts = list(itertools.islice(passages(client, _PROMPT, seed=4), _STREAMS))
        inside = InsideClient(setup)
        measures = {
            "engine process": lambda: _speed(setup, client, prompts),
            "in-process": lambda: _speed(setup, inside, prompts),
        }
        values = alternate(setup.rounds, measures, "tokens/s")
        medians = [report.add_rounds(name, values[name], "tokens/s").median for name in values]
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _speed(setup: Setup, client: EngineClient, prompts: list[str]) -> float:
    """Tokens per second of all streams together, from handing in the first to the last event."""
    params = fixed_length(setup, _TOKENS)
    requests = [
        GenerationRequest(
            f"stream-{number}", prompt=prompt, params=params, priority="batch", reuse_cache=False
        )
        for number, prompt in enumerate(prompts)
    ]
    start = time.perf_counter()
    replies = ask_all(client, requests)
    seconds = time.perf_counter() - start
    assert all(reply.num_tokens == _TOKENS for reply in replies)
    return _STREAMS * _TOKENS / seconds


if __name__ == "__main__":
    main()
