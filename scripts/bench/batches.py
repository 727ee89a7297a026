"""Many requests at once, against llama-server: what `batch_shared` and `batch_plain` share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common import Report, Setup, alternate
from servers import LlamaServer
from streams import Reply, ask, ask_all
from texts import fixed_length, passages

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest, SamplingParams

NUM_REQUESTS, GENERATED = 64, 32
_PREFILLED = 512


@dataclass(frozen=True, slots=True)
class Compared:
    ratio: float
    """The time of the best server by ours."""
    seconds: float
    """Ours."""
    prefill_speed: float
    """Of a long prompt alone, in tokens per second: no batch is computed faster."""
    prefilled: float
    """The part of all prompt tokens that our engine computed, in the last round."""


def compare(
    report: Report,
    setup: Setup,
    client: EngineClient,
    servers: dict[str, LlamaServer],
    jobs: Iterator[list[str]],
) -> Compared:
    """Alternates localchat and the servers, each round with prompts that none has seen."""
    speeds: list[float] = []
    replies: list[Reply] = []
    probes = passages(client, _PREFILLED, seed=512)
    current: list[str] = []

    def localchat() -> float:
        current[:] = next(jobs)
        speeds.append(_prefill_speed(client, next(probes)))
        start = time.perf_counter()
        replies[:] = ask_all(client, _requests(setup, current))
        return time.perf_counter() - start

    def by(server: LlamaServer) -> Callable[[], float]:
        return lambda: server.complete_all(current, GENERATED)

    measures = {"localchat": localchat} | {name: by(server) for name, server in servers.items()}
    values = alternate(setup.rounds, measures, "s")
    medians = {name: report.add_rounds(name, values[name], "s").median for name in values}
    speed = report.add_rounds("prefill alone", speeds[1:], "tokens/s").median
    assert all(reply.num_tokens == GENERATED for reply in replies)
    usages = [reply.finished.usage for reply in replies]
    cached = sum(usage.cached_tokens for usage in usages)
    seconds = medians["localchat"]
    return Compared(
        min(medians[name] for name in servers) / seconds,
        seconds,
        speed,
        1 - cached / sum(usage.prompt_tokens for usage in usages),
    )


def _requests(setup: Setup, prompts: list[str]) -> list[GenerationRequest]:
    params = fixed_length(setup, GENERATED)
    return [
        GenerationRequest(f"batch-{number}", prompt=prompt, params=params, priority="batch")
        for number, prompt in enumerate(prompts)
    ]


def _prefill_speed(client: EngineClient, prompt: str) -> float:
    params = SamplingParams(temperature=0.0, max_tokens=1)
    request = GenerationRequest("probe", prompt=prompt, params=params, reuse_cache=False)
    return _PREFILLED / ask(client, request).first_seconds
