"""The files that are made of the journal: whole at the end, or as rows are finished.

They can be made again at any time; so what is torn by a crash is made anew, and a file that
somebody else has changed is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, Protocol, get_args

from localchat.batch.journal import Entry, Finished, Journal, entry_of, no_space
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.batch.writers.columns import Added
from localchat.batch.writers.openai import OpenAIWriter
from localchat.batch.writers.table import JsonlWriter, TableWriter
from localchat.errors import UsageError
from localchat.store.connection import sync

Format = Literal["openai", "jsonl", "csv", "tsv"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
}


class Writer(Protocol):
    @property
    def header(self) -> str: ...
    def text(self, entry: Entry) -> str: ...


def format_of(path: Path, source: Input) -> Format:
    """By the name's ending; an input in OpenAI's format has such an output. Raises UsageError."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            f"{path} doesn't say by its ending what format to write.",
            f"Name it with one of {' '.join(sorted(_SUFFIXES))}",
        )
    return "openai" if found == "jsonl" and source.format == "openai" else found


class Output:
    """What a run writes: answers, and errors if they have a file of their own."""

    def __init__(
        self,
        path: Path,
        errors: Path | None,
        format_: Format,
        plan: Plan,
        columns: Sequence[str] | None,
        *,
        live: bool,
    ) -> None:
        """`columns`: the input's; None if rows have their own. `live`: write rows as they finish.

        Raises UsageError for what can't be done.
        """
        if live and columns is None and format_ in ("csv", "tsv"):
            raise UsageError(
                "A table needs to know its columns before its first row, and rows of this input"
                " have their own.",
                "Leave out --unordered, or write JSON Lines: -o OUT.jsonl",
            )
        self._paths = [path] if errors is None else [path, errors]
        self._format = format_
        self._plan = plan
        self._columns = columns
        self._live = live
        self._files: list[IO[str]] = []
        self._writers: list[Writer] = []

    def refuse_foreign(self, stamps: Mapping[str, str]) -> None:
        """Raises UsageError for a file that the run of these stamps hasn't written, or not so."""
        for path in self._paths:
            found, known = _stamp(path), stamps.get(str(path), "")
            if found is None or found in known.split() or known.split()[:1] == [_inode(path)]:
                continue
            how = "was changed after the batch had written it" if known else "exists already"
            raise UsageError(
                f"{path} {how}, so it is left alone.", "Move it away, or name another file."
            )

    def remove(self) -> None:
        """Removes the files; `refuse_foreign` comes first."""
        for path in self._paths:
            path.unlink(missing_ok=True)

    def begin(self, journal: Journal) -> None:
        """Rows are about to finish."""
        if self._live:
            self._write(journal, keeps_open=True)

    def add(self, group: Iterable[Finished]) -> None:
        """Rows have been finished, durably."""
        if not self._live:
            return
        try:
            for entry in map(entry_of, group):
                which = self._which(entry)
                self._files[which].write(self._writers[which].text(entry))
            for file in self._files:
                file.flush()
        except OSError as error:
            raise _explained(error) from error

    def finish(self, journal: Journal) -> None:
        """Puts the files in place, whole."""
        self.close()
        self._write(journal, keeps_open=False)

    def close(self) -> None:
        files, self._files = self._files, []
        for file in files:
            file.close()

    def _which(self, entry: Entry) -> int:
        return 1 if entry.outcome.error is not None and len(self._paths) > 1 else 0

    def _write(self, journal: Journal, *, keeps_open: bool) -> None:
        """Makes the files anew beside the old ones, and puts them in their place."""
        columns = self._columns
        if columns is None and self._format in ("csv", "tsv"):
            columns = _columns(journal)
        self._writers = [
            self._writer(columns or (), of_errors=n > 0) for n in range(len(self._paths))
        ]
        # Beside its place, so that it can be moved there in one step.
        made = [path.with_name(f".{path.name}.new") for path in self._paths]
        files: list[IO[str]] = []
        try:
            for path, writer in zip(made, self._writers, strict=True):
                path.unlink(missing_ok=True)
                files.append(path.open("x", encoding="utf-8", newline=""))
                files[-1].write(writer.header)
            for entry in journal.entries(in_order=not self._live):
                which = self._which(entry)
                files[which].write(self._writers[which].text(entry))
            for file in files:
                file.flush()
                os.fsync(file.fileno())
            for path, target in zip(made, self._paths, strict=True):
                # What the file looks like stays so when it is moved: it is known for ours before.
                before = _stamp(target) or ""
                now = _stamp(path) or ""
                alive = f"{_inode(path)} " if keeps_open else "whole "
                journal.set_stamp(str(target), f"{alive}{before} {now}")
                path.replace(target)
                sync(target.parent)
        except BaseException as error:
            for file in files:
                with contextlib.suppress(OSError):  # what is left in it can't be written either
                    file.close()
            for path in made:
                path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _explained(error) from error
            raise
        if keeps_open:
            self._files = files
        else:
            for file in files:
                file.close()

    def _writer(self, columns: Sequence[str], *, of_errors: bool) -> Writer:
        if self._format == "openai":
            return OpenAIWriter(self._plan.model.name)
        with_errors = of_errors or len(self._paths) == 1
        added = Added(self._plan, columns, with_errors=with_errors)
        if self._format == "jsonl":
            return JsonlWriter(added)
        return TableWriter(columns, added, "," if self._format == "csv" else "\t")


def _columns(journal: Journal) -> list[str]:
    """All columns of the rows, in the order they come up."""
    found: dict[str, None] = {}
    for entry in journal.entries():
        found |= dict.fromkeys(json.loads(entry.source))
    return list(found)


def _stamp(path: Path) -> str | None:
    """What a file looks like; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _inode(path: Path) -> str:
    return f"live-{path.lstat().st_ino}"


def _explained(error: OSError) -> Exception:
    return no_space() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
