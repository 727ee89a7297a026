"""How long does a one-shot command take, cold and warm? See README.md beside this file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import Report, Setup, alternate, parser, peer, prepare, stop_engines

_PROMPT = "Why is the sky blue?"
_TOKENS = 16  # of the answers whose first one is timed
_COLD_GOAL = 1.0
_WARM_GOAL = 150  # ms
_MEMORY_GOAL = 40  # MB
_FORBIDDEN = ("textual", "pydantic", "huggingface_hub", "rich", "llama_cpp")

# Says how much memory a command took. A child's peak begins with its parent's, so the parent
# has to be smaller than any Python program with imports: this one, without `site`.
_MEASURE_MEMORY = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
sys.stderr.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def main() -> None:
    arguments = parser("a one-shot command, cold and warm", rounds=10).parse_args()
    with prepare(arguments) as setup:
        os.environ["LOCALCHAT_THREADS"] = str(setup.threads)
        report = Report("one_shot", setup)
        ask = ask_command(arguments.model)
        measures: dict[str, Callable[[], float]] = {
            "localchat, cold": lambda: _cold(setup, ask),
            "llama-cli": lambda: _llama_cli(setup),
            "localchat, warm": lambda: _first_byte([*ask, *_answer()], b""),
            "warm overhead": lambda: overhead(ask),
        }
        values = alternate(setup.rounds, measures, "ms")
        medians = {name: report.add_rounds(name, values[name], "ms").median for name in values}
        ratio = medians["localchat, cold"] / medians["llama-cli"]
        report.add_goal("cold ratio", ratio, f"at most {_COLD_GOAL}", met=ratio <= _COLD_GOAL)
        overhead = medians["warm overhead"]
        report.add_goal(
            "warm overhead, ms", overhead, f"at most {_WARM_GOAL}", met=overhead <= _WARM_GOAL
        )
        memory = _peak_memory([*ask, *_answer()])
        report.add_goal(
            "client memory, MB", memory, f"below {_MEMORY_GOAL}", met=memory < _MEMORY_GOAL
        )
        heavy = _forbidden_imports([*ask, *_answer()])
        print(f"heavy imports of a warm command: {', '.join(heavy) or 'none'}")
        report.add_goal("heavy imports", len(heavy), "none", met=not heavy)
        report.save()


def ask_command(model: str | None) -> list[str]:
    """The command as a user types it, without --max-tokens."""
    command = [str(Path(sys.executable).with_name("localchat")), "ask", "--temp", "0"]
    return [*command, "--model", str(Path(model).absolute())] if model else command


def _answer(tokens: int = _TOKENS) -> list[str]:
    return ["--max-tokens", str(tokens), _PROMPT]


def _cold(setup: Setup, ask: list[str]) -> float:
    stop_engines(setup.paths)
    return _first_byte([*ask, *_answer()], b"")


def _llama_cli(setup: Setup) -> float:
    """To the first byte of the answer: after its banner comes "> ", our prompt, and a newline."""
    command = [str(peer("llama-cli")), "-m", setup.model.path, "-t", str(setup.threads)]
    # Asked for the same: the same context and batch, greedy, one turn, plain output.
    command += ["-c", "8192", "-b", "512", "--temp", "0", "-n", str(_TOKENS), "-p", _PROMPT]
    command += ["--single-turn", "--simple-io", "--no-show-timings"]
    return _first_byte(command, f"\n> {_PROMPT}\n".encode())


def _first_byte(command: list[str], preamble: bytes) -> float:
    """Milliseconds from starting the command to the first byte on stdout after `preamble`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    seen = b""
    arrived = 0.0
    while piece := os.read(process.stdout.fileno(), 2**16):
        seen += piece
        answer = seen.partition(preamble)[2] if preamble else seen
        if answer and not arrived:
            arrived = time.perf_counter()
    _, errors = process.communicate()
    if process.returncode or not arrived:
        sys.exit(f"Error: {command[0]} gave no answer: {errors.decode()}")
    return 1000 * (arrived - start)


def overhead(ask: list[str]) -> float:
    """Milliseconds of a whole warm process that its engine did not compute in."""
    start = time.perf_counter()
    done = subprocess.run(
        [*ask, "--json", *_answer(1)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    whole = time.perf_counter() - start
    timings = json.loads(done.stdout)["timings"]
    return 1000 * float(whole - timings["prefill"] - timings["decode"])


def _peak_memory(command: list[str]) -> float:
    """Resident megabytes of the command at most."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _MEASURE_MEMORY, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stderr.split()[-1]) * unit / 1e6


def _forbidden_imports(command: list[str]) -> list[str]:
    """Packages a warm command has no use for, and imports all the same."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    return sorted(imported.intersection(_FORBIDDEN))


if __name__ == "__main__":
    main()
