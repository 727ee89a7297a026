"""The input: which format it has, and its records."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, get_args

from localchat.batch.readers import jsonl, plain
from localchat.batch.readers.lines import Lines
from localchat.batch.readers.table import Table
from localchat.batch.record import Record
from localchat.errors import InputError, UsageError

Format = Literal["openai", "jsonl", "csv", "tsv", "lines"]
FORMATS: tuple[Format, ...] = get_args(Format)
STDIN = "-"
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "lines",
}


class Input(Protocol):
    """Where rows come from. Iterating gives their records, once."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def path(self) -> str | None: ...
    @property
    def size(self) -> int | None:
        """Bytes; None if nobody knows."""

    @property
    def mtime_ns(self) -> int | None: ...
    @property
    def sha256(self) -> str | None:
        """Of what was read so far."""

    @property
    def position(self) -> int:
        """Bytes of the rows so far."""

    @property
    def format(self) -> Format: ...
    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that each row has; None if that is for the row to say."""

    def __iter__(self) -> Iterator[Record]: ...
    def close(self) -> None: ...


class Source:
    """A file that is open, or standard input: an `Input`."""

    def __init__(self, name: str, format_: Format | None = None) -> None:
        """`name`: a path, or "-" for standard input. Raises InputError, UsageError."""
        self.name = "Standard input" if name == STDIN else name
        self.path = None if name == STDIN else os.path.realpath(name)
        stream, self.size, self.mtime_ns = _open(name)
        self._stream = stream
        try:
            self._lines = Lines(stream, self.name)
            self.format: Format = format_ or _format(name, self._lines)
            self._table = None
            if self.format in ("csv", "tsv"):
                delimiter = "," if self.format == "csv" else "\t"
                self._table = Table(self._lines, self.name, delimiter)
        except BaseException:
            self.close()
            raise

    @property
    def columns(self) -> Sequence[str] | None:
        if self._table is not None:
            return self._table.columns
        return ["text"] if self.format == "lines" else None

    @property
    def position(self) -> int:
        return self._lines.position

    @property
    def sha256(self) -> str:
        return self._lines.sha256.hexdigest()

    def __iter__(self) -> Iterator[Record]:
        if self._table is not None:
            return iter(self._table)
        return plain.read(self._lines) if self.format == "lines" else jsonl.read(self._lines)

    def close(self) -> None:
        if self.path is not None:  # standard input is not ours to close
            self._stream.close()


def _open(name: str) -> tuple[BinaryIO, int | None, int | None]:
    """(The stream, its size and time of change in ns; None if it is no file)."""
    if name == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("There is nothing on standard input.", "cat FILE | localchat batch -")
        return sys.stdin.buffer, None, None
    try:
        stream = Path(name).open("rb", buffering=0)  # noqa: SIM115 - the source closes it
    except OSError as error:
        raise InputError(f"{name} can't be read: {error.strerror}.") from error
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        return stream, None, None
    return stream, found.st_size, found.st_mtime_ns


def _format(name: str, lines: Lines) -> Format:
    """By the name's ending; JSON Lines for a batch by OpenAI's format show it in their first."""
    known = _SUFFIXES.get(Path(name).suffix.lower())
    start = lines.peek().lstrip()
    if known is None and name == STDIN:
        known = "jsonl" if start.startswith(b"{") else "lines"
    if known is None:
        raise UsageError(
            f"{name} doesn't say by its ending what format it has.",
            f"Give it: --format {'|'.join(FORMATS)}",
        )
    if known != "jsonl":
        return known
    try:
        first = json.loads(start.split(b"\n", 1)[0])
    except ValueError:
        return known
    is_openai = isinstance(first, dict) and {"custom_id", "body"} <= first.keys()
    return "openai" if is_openai else known
