"""How fast is a file verified, against openssl? See README.md beside this file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from big_file import parser, prepare, rate
from common import Report, Setup, alternate

from localchat.registry.files import verify

_GOAL = 0.8


def main() -> None:
    arguments = parser("MB/s of hashing a model that is in the page cache", rounds=5).parse_args()
    with prepare(arguments) as (setup, path):
        report = Report("verify", setup)
        measures = {
            "localchat": lambda: _localchat(setup, path),
            "openssl dgst": lambda: _openssl(setup, path),
        }
        values = alternate(setup.rounds, measures, "MB/s")
        medians = [report.add_rounds(name, values[name], "MB/s").median for name in values]
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _localchat(setup: Setup, path: Path) -> float:
    start = time.perf_counter()
    found = verify.sha256(path)
    seconds = time.perf_counter() - start
    assert found == setup.sha256
    return rate(path, seconds)


def _openssl(setup: Setup, path: Path) -> float:
    start = time.perf_counter()
    command = ["openssl", "dgst", "-sha256", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    if done.stdout.split()[-1] != setup.sha256:
        sys.exit("Error: openssl found another digest.")
    return rate(path, seconds)


if __name__ == "__main__":
    main()
