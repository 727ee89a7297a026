"""How long does a GGUF header take, and a hostile one? See README.md beside this."""

from __future__ import annotations

import io
import random
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import Report, alternate, parser, prepare

from localchat import gguf
from localchat.errors import ModelLoadFailed

_DAMAGED = 20_000
_REPETITIONS = 9  # of a hostile file; the median counts
_BLOCK = 2**16  # bytes that hold the numbers of any real header
_EDGES = (0, 2**16, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
_GOAL = 10  # ms
_MEMORY_GOAL = 64  # MB
_STRING, _ARRAY, _UINT32, _UINT64 = 8, 9, 4, 10
_NO_TEXT = b"\xff"


def main() -> None:
    arguments = parser("reading the header of a GGUF file", rounds=20).parse_args()
    with prepare(arguments) as setup:
        report = Report("header", setup)
        path = Path(setup.model.path)
        measures = {
            "numbers": lambda: 1000 * _seconds(lambda: gguf.read_file(path)),
            "whole header": lambda: 1000 * _seconds(lambda: gguf.read_file(path, whole=True)),
        }
        for name, values in alternate(setup.rounds, measures, "ms").items():
            report.add_rounds(name, values, "ms")
        memory = _memory()
        with path.open("rb") as file:
            start, size = file.read(_BLOCK), path.stat().st_size
        draw = random.Random(0)
        damaged = sorted(_read(_damage(start, draw), size) for _ in range(_DAMAGED))
        late = 1000 * damaged[len(damaged) * 99 // 100]
        report.add_value("damaged headers, longest", 1000 * damaged[-1], "ms")
        report.add_goal(
            "damaged headers, 99th percentile, ms", late, f"below {_GOAL}", met=late < _GOAL
        )
        worst = 0.0
        for name, content in _hostile().items():
            times = sorted(_read(content, len(content)) for _ in range(_REPETITIONS))
            median = 1000 * times[_REPETITIONS // 2]
            print(f"{name}: {median:.1f} ms", file=sys.stderr)
            worst = max(worst, median)
        report.add_goal("worst of hostile files, ms", worst, f"below {_GOAL}", met=worst < _GOAL)
        grown = _memory() - memory
        report.add_goal(
            "memory beyond it, MB", grown, f"below {_MEMORY_GOAL}", met=grown < _MEMORY_GOAL
        )
        report.save()


def _read(content: bytes, size: int) -> float:
    file = io.BytesIO(content)

    def read() -> None:
        try:
            gguf.read(file, size)
        except ModelLoadFailed:
            return

    return _seconds(read)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _memory() -> float:
    """The most resident memory this process ever had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _damage(start: bytes, draw: random.Random) -> bytes:
    """One to three things wrong within the first 2 KB: bits, lengths, what is missing."""
    content = bytearray(start)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(2048)
        kind = draw.randrange(3)
        if kind == 0:
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            content[at : at + 8] = struct.pack("<Q", draw.choice(_EDGES))
        else:
            del content[at : at + draw.randint(1, 64)]
    return bytes(content)


def _hostile() -> dict[str, bytes]:
    """Files that make as much work as the reader's limits let them."""
    architecture = _pair(b"general.architecture", _STRING, _text(b"llama"))
    names = [b"%d" % number for number in range(511)]
    list_of_strings = _pair(
        b"list", _ARRAY, struct.pack("<IQ", _STRING, 2**12) + _text(b"abcdefg") * 2**12
    )
    numbers = struct.pack("<IQ", _UINT64, 32) + _NO_TEXT * 256
    long_pairs = [_pair(_NO_TEXT * 240 + name, _STRING, _text(_NO_TEXT * 256)) for name in names]
    return {
        "entries": _file(architecture, *(_pair(name, _UINT32, bytes(4)) for name in names)),
        "keys and strings": _file(architecture, *long_pairs),
        "numbers": _file(architecture, *(_pair(name, _ARRAY, numbers) for name in names)),
        "a list of strings": _file(list_of_strings, architecture),
        "a list and entries": _file(list_of_strings, architecture, *long_pairs[1:]),
    }


def _file(*pairs: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def _pair(key: bytes, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


if __name__ == "__main__":
    main()
