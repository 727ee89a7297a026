"""The rows of the input, sorted out: which are to be asked, are done, or can't be asked."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from localchat.batch.answer import failure
from localchat.batch.journal import Finished, Place
from localchat.batch.readers.source import Input, Source
from localchat.batch.record import Record
from localchat.batch.request import Requests, Row
from localchat.errors import UsageError

_SAMPLE_SEED = 0  # the same rows each time: so that a sample can be gone on with


class Known(NamedTuple):
    """A row that was finished before."""

    row: Row
    failed: bool
    is_moved: bool
    """Whether it had another place in the input then."""


Item = Row | Finished | Known
"""A Row is to be asked."""


class Intake:
    """Iterating gives the rows in the input's order; `read` counts them."""

    def __init__(
        self,
        records: Iterable[Record],
        requests: Requests,
        see: Callable[[str], bool],
        place: Callable[[Row], Place | None],
        *,
        sees_all: bool = False,
        retry_failed: bool = False,
        chosen: frozenset[int] | None = None,
        limit: int | None = None,
    ) -> None:
        """`see`: False for an id that was given to it before; those of rows that name themselves
        are, and all others if `sees_all`. `place`: a finished row's. `chosen`: numbers of the rows
        to take; None: all. `limit`: rows to take at most.
        """
        self.read = 0
        self.has_ended = False
        """Whether all rows that are to be taken have been."""
        self._records = records
        self._requests = requests
        self._see = see
        self._sees_all = sees_all
        self._place = place
        self._retry_failed = retry_failed
        self._chosen = chosen
        self._limit = limit

    def __iter__(self) -> Iterator[Item]:
        numbered: Iterable[tuple[int, Record]] = enumerate(self._records, 1)
        if self._chosen is not None:
            last = max(self._chosen, default=0)
            numbered = (pair for pair in islice(numbered, last) if pair[0] in self._chosen)
        for number, record in islice(numbered, self._limit):
            self.read += 1
            yield self._item(self._requests.row(number, record))
        self.has_ended = True

    @property
    def is_whole(self) -> bool:
        """Whether the input was read to its end, and all of it was taken."""
        return self.has_ended and self._chosen is None and self._limit is None

    def _item(self, row: Row) -> Item:
        if (row.names_itself or self._sees_all) and not self._see(row.custom_id):
            row = self._renamed(row)
        found = self._place(row)
        if (
            found is not None
            and found.digest == row.digest
            and not (self._retry_failed and found.failed)
        ):
            is_moved = (found.number, found.line) != (row.number, row.line)
            return Known(row, found.failed, is_moved)
        return Finished(row, failure("UnusableRow", row.fault)) if row.fault else row

    def _renamed(self, row: Row) -> Row:
        """Under the name of its line, as a row whose own id is taken."""
        fault = f"Another row before has the custom_id {row.custom_id!r}."
        name = f"line-{row.line}"
        self._see(name)
        return row._replace(custom_id=name, digest=fault.encode(), fault=row.fault or fault)


def sample_of(source: Input, size: int) -> frozenset[int]:
    """Numbers of `size` rows of a file, each as likely as any other; the file is read apart.

    Raises UsageError for an input that can be read once only.
    """
    if source.path is None:
        raise UsageError(f"{source.name} can be read once only, so no sample can be taken of it.")
    with contextlib.closing(Source(source.path, source.format)) as again:
        return sample(again, size)


def sample(records: Iterable[Record], size: int) -> frozenset[int]:
    """Numbers of `size` rows, each as likely as any other, without keeping the rows."""
    chance = random.Random(_SAMPLE_SEED)  # noqa: S311 - nothing is to be kept secret
    chosen: list[int] = []
    for number, _ in enumerate(records, 1):
        if len(chosen) < size:
            chosen.append(number)
        elif (place := chance.randrange(number)) < size:
            chosen[place] = number
    return frozenset(chosen)
