"""What can go wrong between a hub and its client, as values that `Hub.schedule` takes."""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto

BEYOND = 64 << 20
"""How far an endless body runs past the end of its file before the hub gives up, in bytes."""


class Kind(Enum):
    """What happens to one answer. `at` counts the bytes of the body that is being sent."""

    NONE = auto()
    """The good answer."""

    CORRUPT = auto()
    """One bit of byte `at` is flipped."""

    FIN = auto()
    """The connection is closed after `at` bytes; Content-Length had promised all of them."""

    RST = auto()
    """The connection is reset once the client has been handed `at` bytes."""

    STALL = auto()
    """Nothing comes after `at` bytes for `seconds`, or until `Hub.release`; then all the rest."""

    CLOSED = auto()
    """No Content-Length: the body ends where the connection does, after `at` bytes."""

    CHUNKED = auto()
    """No Content-Length: a chunked body that ends properly, but after `at` bytes."""

    ENDLESS = auto()
    """No Content-Length, and zeros after the file's end: `BEYOND` of them."""

    RANGE_IGNORED = auto()
    """The whole file with status 200, whatever range was asked for."""

    WRONG_RANGE = auto()
    """206 with a Content-Range, and its bytes, that start `by` bytes after the one asked for."""

    WRONG_SIZE = auto()
    """The file is said to be, and is, `by` bytes longer: zeros are appended, or its end is cut."""

    SWAPPED = auto()
    """Another file of the same size, with an ETag of its own, stands at the address."""

    ETAG = auto()
    """The ETag, and the sha256 in the listing, is `value`."""

    COMMIT = auto()
    """The commit is `value`."""

    GZIP = auto()
    """The body claims Content-Encoding gzip, and isn't compressed."""

    STATUS = auto()
    """No file but `status`, with `retry_after` and `code` in the headers."""

    REDIRECT = auto()
    """A redirect to `value`."""

    LOOP = auto()
    """A redirect to the same address."""


WITHOUT_LENGTH = frozenset({Kind.CLOSED, Kind.CHUNKED, Kind.ENDLESS})
"""The kinds that don't say how long the body will be."""


@dataclass(frozen=True)
class Fault:
    """One fault, in one answer."""

    kind: Kind
    """What happens; says which of the other fields are used."""

    at: int = 0
    """Bytes of the body that are sent before it happens. Beyond its end: at its end."""

    by: int = 1
    """How many bytes a range or a size is off."""

    seconds: float = 60.0
    """How long a stall lasts."""

    status: int = 503
    """The HTTP status of an error."""

    retry_after: int | None = None
    """Retry-After in seconds; None leaves it out."""

    code: str = ""
    """X-Error-Code, as `GatedRepo`; empty leaves it out."""

    value: str = "../../../X"
    """What a hostile header says."""

    def planned(self, length: int) -> int:
        """How many bytes are sent of a body that had `length`."""
        if self.kind in (Kind.FIN, Kind.RST, Kind.CLOSED, Kind.CHUNKED):
            return min(self.at, length)
        return length + BEYOND if self.kind is Kind.ENDLESS else length


GOOD = Fault(Kind.NONE)

DISTURBANCES = (
    *(kind for kind in Kind if kind not in {Kind.NONE, Kind.STATUS, Kind.REDIRECT, Kind.LOOP}),
    # Thrice as likely as any other: the errors of busy servers.
    *(Kind.STATUS,) * 3,
)
"""What `random_schedule` draws from: all that goes away when the client asks again."""

_BUSY = (429, 500, 502, 503, 504)


def random_schedule(
    draw: random.Random,
    size: int,
    *,
    kinds: tuple[Kind, ...] = DISTURBANCES,
    stall: float = 1.0,
) -> list[Fault]:
    """One to eight faults for the transfer of a file of `size` bytes; after them all is well.

    `stall` is how many seconds each stall lasts.
    """
    faults = []
    for _ in range(draw.randint(1, 8)):
        # Edges are where loops break: as likely as a place somewhere in the middle.
        edges = [0, 1, size - 1, size]
        at = draw.choice(edges) if draw.random() < 0.5 else draw.randrange(size)
        by = draw.choice([1, draw.randint(1, size)])
        fault = Fault(draw.choice(kinds), at, seconds=stall, status=draw.choice(_BUSY))
        if fault.kind is Kind.WRONG_SIZE:
            by *= draw.choice([1, -1])
        retry_after = draw.choice([0, None])
        faults.append(replace(fault, by=by, retry_after=retry_after))
    return faults


class Schedule:
    """The faults of the answers to come: one each in order, then one kind for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.set()

    def set(self, *faults: Fault, then: Fault = GOOD) -> None:
        """Forgets what was to come."""
        with self._lock:
            self._faults = deque(faults)
            self._then = then

    def take(self) -> Fault:
        """The fault of the next answer."""
        with self._lock:
            return self._faults.popleft() if self._faults else self._then

    @property
    def left(self) -> int:
        """How many faults of the list have not happened yet."""
        with self._lock:
            return len(self._faults)
