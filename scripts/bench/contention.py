"""How fast on a busy machine, and how soon after a change? See README.md beside this file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from common import Report, Setup, alternate, engine, llama_bench, parser, prepare
from hogs import Hogs, hogs
from streams import Reply, ask
from texts import fixed_length, numbers, passages

from localchat.client.base import EngineClient
from localchat.client.socket_client import SocketClient
from localchat.types import GenerationRequest, SamplingParams

_DECODED, _PREFILLED = 128, 512
_LEAD = 64  # tokens decoded before a figure is taken; see README.md
# Tokens/s below which the lead, and then the measured part, end early: too many threads on a busy
# machine can take a second a token.
_SLOWEST = 16.0
_OF_BEST_GOAL = 0.9
_IDLE_GOAL, _TAKEN_GOAL = 0.97, 2.5
_FOLLOW_GOAL = 2.0  # s
_ADAPTIVE, _PEER = "adaptive", "llama-bench"
_ALL_TAKEN = "all cores taken"

# Up to here each count of threads is tried, beyond only some.
_MOST_FIXED = 8

# Seconds: a window of tokens/s, and how long a reply runs before and after a change.
_WINDOW, _BEFORE, _AFTER = 0.25, 2.0, 5.0


def main() -> None:
    arguments = parser("tokens/s beside processes that take cores", rounds=5).parse_args()
    with prepare(arguments) as setup, hogs() as others, _engines(setup) as clients:
        report = Report("contention", setup)
        cores = _cores()
        states = {"idle": 0, "one core taken": 1} | ({_ALL_TAKEN: cores} if cores > 1 else {})
        best = {}
        for state, count in states.items():
            others.become(count)
            decode = _measure_decode(report, setup, clients, state)
            best[state] = _compare(report, f"{state}, decode", decode)
            _compare(report, f"{state}, prefill", _measure_prefill(report, setup, clients, state))
            if _PEER in decode:
                goal = _TAKEN_GOAL if count else _IDLE_GOAL
                ratio = decode[_ADAPTIVE] / decode[_PEER]
                name = f"{state}, decode against llama-bench"
                report.add_goal(name, ratio, f"at least {goal}", met=ratio >= goal)
        for state in list(states)[1:]:
            for old, new in (("idle", state), (state, "idle")):
                changes = (states[old], states[new])
                _follow(report, setup, clients, others, f"{old} to {new}", changes, best[new])
        report.save()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _engines(setup: Setup) -> Iterator[dict[str, SocketClient]]:
    """One that chooses its threads, and one for each fixed count."""
    most = setup.threads
    counts: Sequence[int] = range(1, most + 1)
    if most > _MOST_FIXED:
        counts = sorted({1, most // 4, most // 2, 3 * most // 4, most - 1, most})
    with contextlib.ExitStack() as stack:
        clients = {_ADAPTIVE: stack.enter_context(engine(setup, threads=0))}
        for count in counts:
            name = f"{count} thread" + ("s" if count > 1 else "")
            clients[name] = stack.enter_context(engine(setup, threads=count))
        yield clients


def _measure_decode(
    report: Report, setup: Setup, clients: dict[str, SocketClient], state: str
) -> dict[str, float]:
    """The medians of tokens/s by who decoded."""

    def decode(client: EngineClient) -> Callable[[], float]:
        return lambda: _decode(setup, client, _LEAD)

    measures = {name: decode(client) for name, client in clients.items()}
    if state != _ALL_TAKEN:
        # There it takes a second a token at times, and nothing is compared with it.
        options = ("-p", "0", "-n", str(_DECODED))
        measures[_PEER] = lambda: llama_bench(setup, *options, own_threads=True)
    return _rounds(report, setup, measures, f"{state}, decode")


def _measure_prefill(
    report: Report, setup: Setup, clients: dict[str, SocketClient], state: str
) -> dict[str, float]:
    prompts = passages(clients[_ADAPTIVE], _PREFILLED, seed=512)

    def prefill(client: EngineClient) -> Callable[[], float]:
        return lambda: _prefill(setup, client, next(prompts))

    measures = {name: prefill(client) for name, client in clients.items()}
    if state != _ALL_TAKEN:
        options = ("-p", str(_PREFILLED), "-n", "0")
        measures[_PEER] = lambda: llama_bench(setup, *options, own_threads=True)
    return _rounds(report, setup, measures, f"{state}, prefill")


def _rounds(
    report: Report, setup: Setup, measures: dict[str, Callable[[], float]], label: str
) -> dict[str, float]:
    values = alternate(setup.rounds, measures, "tokens/s")
    return {
        name: report.add_rounds(f"{label}, {name}", values[name], "tokens/s").median
        for name in values
    }


def _compare(report: Report, name: str, speeds: dict[str, float]) -> str:
    """Holds the adaptive engine against the best fixed count; returns that one's name."""
    fixed = {name: speed for name, speed in speeds.items() if name not in (_ADAPTIVE, _PEER)}
    best = max(fixed, key=lambda name: fixed[name])
    ratio = speeds[_ADAPTIVE] / fixed[best]
    label = f"{name} against the best fixed count ({best})"
    report.add_goal(label, ratio, f"at least {_OF_BEST_GOAL}", met=ratio >= _OF_BEST_GOAL)
    return best


def _decode(setup: Setup, client: EngineClient, lead: int) -> float:
    """Tokens per second after the first `lead`, as they arrive here."""
    reply = _count_on(setup, client, lead + _DECODED)
    start = next(
        now
        for now, _ in reply.arrivals
        if reply.tokens_by(now) >= lead or now - reply.first >= lead / _SLOWEST
    )
    last = reply.arrivals[-1][0]
    return (reply.tokens_by(last) - reply.tokens_by(start)) / (last - start)


def _prefill(setup: Setup, client: EngineClient, prompt: str) -> float:
    _count_on(setup, client, _LEAD)
    params = SamplingParams(temperature=0.0, max_tokens=1)
    request = GenerationRequest("prefill", prompt=prompt, params=params, reuse_cache=False)
    return _PREFILLED / ask(client, request).first_seconds


def _count_on(setup: Setup, client: EngineClient, tokens: int) -> Reply:
    """A reply of so many tokens; fewer if they come too slowly."""
    request = GenerationRequest(
        "decode",
        prompt=numbers(1, 4),
        params=fixed_length(setup, tokens),
        reuse_cache=False,
        speculate=False,
    )
    reply = Reply(time.perf_counter())
    client.submit(request)
    for event in client.events():
        now = time.perf_counter()
        reply.take(event, now)
        if reply.end is None and reply.arrivals and now - reply.first >= tokens / _SLOWEST:
            client.cancel("decode")
    return reply


def _follow(
    report: Report,
    setup: Setup,
    clients: dict[str, SocketClient],
    others: Hogs,
    name: str,
    counts: tuple[int, int],
    best: str,
) -> None:
    """Seconds from a change of state until a reply that runs is as fast as it should be.

    That is: nearly as fast as the best fixed count is in the new state, at the same place of the
    same reply, for a reply slows down as it grows.
    """
    values = []
    for _ in range(setup.rounds):
        others.become(counts[0])
        _count_on(setup, clients[_ADAPTIVE], _LEAD)
        reply, changed = _reply_through(setup, clients[_ADAPTIVE], lambda: others.become(counts[1]))
        speed = _decode(setup, clients[best], round(reply.tokens_by(changed)))
        values.append(_seconds_to_reach(_OF_BEST_GOAL * speed, reply, changed))
    median = report.add_rounds(f"{name}, time to follow", values, "s").median
    met = median <= _FOLLOW_GOAL
    report.add_goal(f"{name}, s", median, f"at most {_FOLLOW_GOAL}", met=met)


def _reply_through(
    setup: Setup, client: EngineClient, change: Callable[[], None]
) -> tuple[Reply, float]:
    """A reply in which the state changes, and when it did."""
    changed = 0.0
    limit = client.info.context // 2
    request = GenerationRequest(
        "follow", prompt=numbers(1, 4), params=fixed_length(setup, limit), speculate=False
    )
    start = time.perf_counter()
    reply = Reply(start)
    client.submit(request)
    for event in client.events():
        now = time.perf_counter()
        reply.take(event, now)
        if not changed and now - start >= _BEFORE:
            change()
            changed = time.perf_counter()
        elif changed and now - changed >= _AFTER:
            client.cancel("follow")
    return reply, changed


def _seconds_to_reach(goal: float, reply: Reply, changed: float) -> float:
    """Until the start of two windows which together reach the goal; else all that was watched."""
    counted = [reply.tokens_by(changed + _WINDOW * number) for number in range(_num_windows() + 1)]
    for number in range(_num_windows() - 1):
        if (counted[number + 2] - counted[number]) / (2 * _WINDOW) >= goal:
            return number * _WINDOW
    return _AFTER


def _num_windows() -> int:
    return int(_AFTER / _WINDOW)


if __name__ == "__main__":
    main()
