"""How long does a chat wait beside a batch? See README.md beside this file."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Iterator

from common import Report, Setup, engine, parser, prepare
from streams import Reply, ask
from texts import fixed_length, passages

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest, Message

_WIDTH, _BATCH_PROMPT, _BATCH_REPLY = 16, 64, 128
_LENGTHS = {"short": 40, "long": 400}  # tokens of a chat's message
_REPLY = 32
_CHATS = 3  # of each length, in each state and round
_ALONE = 3.0  # seconds in which a batch runs without a chat
_GOAL = 2.0


def main() -> None:
    arguments = parser("the first token of a chat beside a batch", rounds=5).parse_args()
    with (
        prepare(arguments) as setup,
        engine(setup) as client,
        engine(setup) as batch_client,
    ):
        report = Report("interactive", setup)
        batch = Batch(setup, batch_client)
        chats = {name: _requests(setup, client, size) for name, size in _LENGTHS.items()}
        firsts: dict[str, list[float]] = {}
        speeds: dict[str, list[float]] = {}
        for number in range(setup.rounds + 1):
            if number == 1:  # after the warm-up
                firsts.clear()
                speeds.clear()
            _chat(client, chats, firsts, speeds, "idle engine")
            with batch.running():
                alone = time.perf_counter()
                time.sleep(_ALONE)
                beside = time.perf_counter()
                _chat(client, chats, firsts, speeds, "beside a batch")
                end = time.perf_counter()
            speeds.setdefault("batch alone", []).append(batch.speed(alone, beside))
            speeds.setdefault("batch beside a chat", []).append(batch.speed(beside, end))
        for name, values in firsts.items():
            report.add_rounds(name, values, "ms")
        for name, values in speeds.items():
            report.add_rounds(name, values, "tokens/s")
        for name in _LENGTHS:
            ratio = statistics.median(firsts[f"{name} chat, beside a batch"]) / statistics.median(
                firsts[f"{name} chat, idle engine"]
            )
            report.add_goal(f"{name} chat, ratio", ratio, f"at most {_GOAL}", met=ratio <= _GOAL)
        report.save()


class Batch:
    """Requests of low priority, always so many at once, from a client of their own."""

    def __init__(self, setup: Setup, client: EngineClient) -> None:
        self._params = fixed_length(setup, _BATCH_REPLY)
        self._client = client
        self._prompts = passages(client, _BATCH_PROMPT, seed=5)
        self._replies: dict[str, Reply] = {}
        self._is_wide = threading.Event()
        self._is_ending = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """All of them decode from the beginning of the block to its end."""
        self._replies.clear()
        self._is_wide.clear()
        self._is_ending = False
        # Made here: counting tokens takes the client's events.
        prompts = list(itertools.islice(self._prompts, 8 * _WIDTH))
        thread = threading.Thread(target=self._run, args=(prompts,))
        thread.start()
        try:
            self._is_wide.wait()
            yield
        finally:
            self._is_ending = True
            thread.join()

    def speed(self, start: float, end: float) -> float:
        """Tokens per second between two times."""
        tokens = sum(
            reply.tokens_by(end) - reply.tokens_by(start) for reply in self._replies.values()
        )
        return tokens / (end - start)

    def _run(self, prompts: list[str]) -> None:
        waiting = itertools.cycle(prompts)
        for _ in range(_WIDTH):
            self._submit(next(waiting))
        for event in self._client.events():
            reply = self._replies[event.request_id]
            reply.take(event, time.perf_counter())
            if reply.end is not None and not self._is_ending:
                self._submit(next(waiting))
            if not self._is_wide.is_set():
                started = sum(bool(reply.arrivals) for reply in self._replies.values())
                if started >= _WIDTH:
                    self._is_wide.set()

    def _submit(self, prompt: str) -> None:
        name = f"batch-{len(self._replies)}"
        self._replies[name] = Reply(time.perf_counter())
        self._client.submit(
            GenerationRequest(
                name, prompt=prompt, params=self._params, reuse_cache=False, priority="batch"
            )
        )


def _chat(
    client: EngineClient,
    chats: dict[str, Iterator[GenerationRequest]],
    firsts: dict[str, list[float]],
    speeds: dict[str, list[float]],
    state: str,
) -> None:
    """One chat turn after the other; the median of a round counts."""
    for name, requests in chats.items():
        replies = [ask(client, request) for request in itertools.islice(requests, _CHATS)]
        first = statistics.median(reply.first_seconds for reply in replies)
        speed = statistics.median(reply.decode_speed for reply in replies)
        firsts.setdefault(f"{name} chat, {state}", []).append(1000 * first)
        speeds.setdefault(f"{name} chat, {state}, decode", []).append(speed)


def _requests(setup: Setup, client: EngineClient, tokens: int) -> Iterator[GenerationRequest]:
    params = fixed_length(setup, _REPLY)
    texts = list(itertools.islice(passages(client, tokens, seed=tokens), 8))
    for text in itertools.cycle(texts):
        yield GenerationRequest(
            "chat",
            (Message("user", text),),
            params=params,
            reuse_cache=False,
            speculate=False,
        )


if __name__ == "__main__":
    main()
