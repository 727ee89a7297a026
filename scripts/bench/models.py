"""How long do the commands that look for a model take? See README.md beside this file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import Report, Setup, alternate, engine, parser, prepare, stop_engines
from streams import ask

from localchat import speeds
from localchat.registry.fitting import candidates, capacity, decode_speed
from localchat.types import GenerationRequest, SamplingParams

_FIT_GOAL, _LIST_GOAL = 1000, 150  # ms
_TOKENS, _REPLIES = 128, 3
_PROMPT = "1, 2, 3, 4,"  # every model goes on counting
_REMEMBERED = ("candidates.json", "catalogue.json", "bandwidth.json")


def main() -> None:
    arguments = parser("models fit, recommend and list, whole processes", rounds=10).parse_args()
    with prepare(arguments) as setup:
        report = Report("models", setup)

        def first() -> float:
            for name in _REMEMBERED:
                (setup.paths.cache / name).unlink(missing_ok=True)
            return _run("fit", "--offline")

        measures = {
            "fit, the first time": first,
            "fit": lambda: _run("fit", "--offline"),
            "recommend": lambda: _run("recommend"),
            "list": lambda: _run("list"),
        }
        values = alternate(setup.rounds, measures, "ms")
        medians = {name: report.add_rounds(name, values[name], "ms").median for name in values}
        for name, goal in (
            ("fit, the first time", _FIT_GOAL),
            ("fit", _FIT_GOAL),
            ("list", _LIST_GOAL),
        ):
            report.add_goal(f"{name}, ms", medians[name], f"below {goal}", met=medians[name] < goal)
        _compare_speeds(setup, report)
        report.save()


def _run(*arguments: str) -> float:
    """Milliseconds of a whole process of `localchat models`."""
    command = [str(Path(sys.executable).with_name("localchat")), "models", *arguments]
    start = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - start)


def _compare_speeds(setup: Setup, report: Report) -> None:
    """What was to be expected of the model's decoding, and what the engine recorded of it."""
    with engine(setup) as client:
        for number in range(_REPLIES):
            params = SamplingParams(temperature=0.0, max_tokens=_TOKENS)
            request = GenerationRequest(
                str(number), prompt=_PROMPT, params=params, reuse_cache=False, speculate=False
            )
            ask(client, request)
    stop_engines(setup.paths)  # then it is written
    model = candidates.of_file(setup.model.name, Path(setup.model.path), setup.sha256)
    real = speeds.find(setup.paths.speeds, speeds.key(setup.model.sha256, setup.model.path))
    assert real is not None, "the engine has recorded no speed"
    with capacity.Devices() as devices:
        here = capacity.find(setup.paths, devices, setup.threads)
    if here.bandwidth is None:
        sys.exit("Error: the bandwidth can't be measured here.")
    kv_bytes = model.needs(real.depth, "f16", 1).kv_cache
    needed = model.needs(real.depth, "f16", 1).total
    read = decode_speed.traffic(model, kv_bytes, needed, here)
    expected = decode_speed.expected(read, here.bandwidth)
    report.add_value("memory read at", here.bandwidth / 1e9, "GB/s")
    report.add_value("decode, recorded", real.decode, "tokens/s")
    report.add_value("expected over recorded", expected / real.decode, "times")


if __name__ == "__main__":
    main()
