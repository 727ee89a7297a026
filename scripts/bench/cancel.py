"""How soon is a cancelled request over, and is the next one right? See README.md beside this."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time

from common import Report, Setup, engine, parser, prepare
from streams import Reply, ask
from texts import fixed_length, numbers

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest

_COUNTED = 120  # numbers in a prompt: some 500 tokens
_LONG, _SHORT = 256, 16  # tokens of replies: those cancelled, those compared
_GOAL = 250  # ms
_PERCENTILE = 95


def main() -> None:
    arguments = parser("from cancel to the last event", rounds=100).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("cancel", setup)
        # What a context without a past says; computed before anything is cancelled.
        prompts = [f"Series {number}: {numbers(1, _COUNTED)}" for number in range(setup.rounds)]
        fresh = [_ask(setup, client, prompt, reuse_cache=False) for prompt in prompts]
        prefill = statistics.median(reply.first_seconds for reply in fresh)
        speed = statistics.median(reply.decode_speed for reply in fresh)
        draw = random.Random(0)
        delays: dict[str, list[float]] = {"prefill": [], "decode": []}
        num_equal = 0
        for number, (prompt, expected) in enumerate(zip(prompts, fresh, strict=True)):
            longest = prefill if number % 2 else prefill + _LONG / 2 / speed
            phase, seconds = _cancel(setup, client, prompt, draw.uniform(0, longest))
            delays[phase].append(1000 * seconds)
            num_equal += _ask(setup, client, prompt).text == expected.text
            print(f"{number + 1}: {phase}, {1000 * seconds:.1f} ms", file=sys.stderr)
        for phase, values in delays.items():
            if values:
                report.add_rounds(f"cancelled in {phase}", values, "ms")
        late = _percentile([value for values in delays.values() for value in values])
        name = f"{_PERCENTILE}th percentile, ms"
        report.add_goal(name, late, f"at most {_GOAL}", met=late <= _GOAL)
        met = num_equal == setup.rounds
        report.add_goal("next replies as in a fresh context", num_equal, "all", met=met)
        report.save()


def _ask(setup: Setup, client: EngineClient, prompt: str, *, reuse_cache: bool = True) -> Reply:
    params = fixed_length(setup, _SHORT)
    request = GenerationRequest("next", prompt=prompt, params=params, reuse_cache=reuse_cache)
    return ask(client, request)


def _cancel(setup: Setup, client: EngineClient, prompt: str, delay: float) -> tuple[str, float]:
    """In which phase the request was cancelled, and the seconds until it was over."""
    asked = 0.0

    def cancel() -> None:
        nonlocal asked
        asked = time.perf_counter()
        client.cancel("cancelled")

    timer = threading.Timer(delay, cancel)
    params = fixed_length(setup, _LONG)
    timer.start()
    reply = ask(client, GenerationRequest("cancelled", prompt=prompt, params=params))
    timer.join()
    if reply.finished.finish_reason != "cancelled":
        sys.exit("Error: a reply ended before it was cancelled.")
    return "decode" if reply.arrivals and reply.first < asked else "prefill", reply.ended - asked


def _percentile(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * _PERCENTILE // 100)]


if __name__ == "__main__":
    main()
