"""How fast does a download come in, against curl and sha256sum? See README.md beside this file."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from big_file import parser, prepare, rate, served
from common import Report, Setup, alternate

_GOAL = 0.6

# The fetch alone is timed, and what it took of memory is said.
_FETCH = """
import resource, sys, time
from localchat import paths
from localchat.registry import download
from localchat.registry.catalogue.manifest import UrlSource

class Watcher:
    def progress(self, done, total): pass
    def note(self, text): print(text, file=sys.stderr)

url, size, sha256 = sys.argv[1:]
wanted = download.Wanted(int(size), sha256, (UrlSource(url=url),))
start = time.perf_counter()
download.fetch(wanted, paths.find(), Watcher())
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    arguments = parser("MB/s of a download from the loopback interface", rounds=5).parse_args()
    with prepare(arguments) as (setup, path), served(path) as url:
        report = Report("pull", setup)
        fetch = _Fetch(setup, path, url)
        measures = {
            "localchat": fetch.fetched,
            "localchat, whole process": lambda: rate(path, fetch.seconds),
            "curl | sha256sum": lambda: _curl(setup, path, url),
        }
        values = alternate(setup.rounds, measures, "MB/s")
        medians = {name: report.add_rounds(name, values[name], "MB/s").median for name in values}
        ratio = medians["localchat"] / medians["curl | sha256sum"]
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.add_value("memory at most", fetch.memory, "MB")
        report.save()


class _Fetch:
    """Downloads of the file, each into an empty folder."""

    def __init__(self, setup: Setup, path: Path, url: str) -> None:
        self.seconds = 0.0
        """Of the last process, from its start to its end."""
        self.memory = 0.0
        """Resident megabytes at most, of all."""
        self._models = setup.paths.models
        self._path = path
        size = str(path.stat().st_size)
        self._command = [sys.executable, "-c", _FETCH, url, size, setup.sha256]

    def fetched(self) -> float:
        """MB/s of the fetch alone: hashed, on disk, and with its name."""
        shutil.rmtree(self._models, ignore_errors=True)
        start = time.perf_counter()
        done = subprocess.run(self._command, stdout=subprocess.PIPE, text=True, check=True)
        self.seconds = time.perf_counter() - start
        seconds, memory = done.stdout.split()
        unit = 1 if sys.platform == "darwin" else 1024
        self.memory = max(self.memory, int(memory) * unit / 1e6)
        return rate(self._path, float(seconds))


def _curl(setup: Setup, path: Path, url: str) -> float:
    start = time.perf_counter()
    command = f"curl -s {shlex.quote(url)} | sha256sum"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    if done.stdout.split()[0] != setup.sha256:
        sys.exit("Error: curl did not bring the file.")
    return rate(path, seconds)


if __name__ == "__main__":
    main()
