"""`localchat history import`: conversations of another machine, or of another program."""

from __future__ import annotations

import itertools
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from localchat import paths, snapshot_files
from localchat.cli import output
from localchat.cli.history.describe import count
from localchat.cli.history.opened import opened
from localchat.errors import InputError, LocalchatError
from localchat.paths import Paths
from localchat.store.records import NewConversation

if TYPE_CHECKING:
    from localchat.store.formats.reading import Format, Unread

_NAMED = 20  # conversations that can't be read, each with its reason
_LISTED = 1000  # the same for programs
_HOPELESS = 100  # of them, before the first that can be


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "json", "openai", "chatgpt"]),
    default="auto",
    help="Whose it is; auto: as it looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(file: Path, format_: Format, as_json: bool) -> None:
    """Add the conversations of a file.

    FILE is what export wrote as json or openai, ChatGPT's export (its conversations.json, or the
    .zip with it), or lines of OpenAI messages. What is here already is not added again. One that
    can't be read is named, and the others are imported; the exit code is 1 then.
    """
    taken = _Import(file, paths.find())
    with _open(file) as data:
        taken.run(data, format_)
    if as_json:
        output.json_line(taken.as_json())
    else:
        known = f"; {taken.known:,} were here already" if taken.known else ""
        output.line(f"Imported {count(len(taken.ids), 'conversation')}{known}.")
    if taken.num_unread:
        total = len(taken.ids) + taken.known + taken.num_unread
        raise LocalchatError(
            f"{taken.num_unread:,} of {count(total, 'conversation')} could not be imported."
        )


class _Import:
    """One file's, as far as it has come."""

    def __init__(self, file: Path, places: Paths) -> None:
        self.ids: list[str] = []
        """Of those that were added."""
        self.known = 0
        """How many were here already."""
        self.num_unread = 0
        self._unread: list[Unread] = []
        self._file = file
        self._places = places

    def run(self, data: BinaryIO, format_: Format) -> None:
        """Raises InputError if there is nothing in it, and what `Store.add` raises."""
        from localchat.store.formats.reading import read
        from localchat.store.merging import Taken, take_in

        found = self._hopeful(read(data, format_))
        first = next(found)  # before a history is made for nothing
        try:
            with opened(self._places) as store, output.Status("Importing …") as status:
                for became in take_in(store, itertools.chain([first], found)):
                    if not isinstance(became, Taken):
                        self._tell(became, status)
                    elif became.id is None:
                        self.known += 1
                    else:
                        self.ids.append(became.id)
                    status.show(f"Importing … {count(len(self.ids), 'conversation')}")
        except LocalchatError:
            output.note(f"Before this, {count(len(self.ids), 'conversation')} were imported.")
            raise
        finally:
            snapshot_files.readmit(self._places.snapshots, self.ids)

    def as_json(self) -> dict[str, object]:
        unread = [one._asdict() for one in self._unread]
        return {
            "imported": self.ids,
            "known": self.known,
            "num_unread": self.num_unread,
            "unread": unread,
        }

    def _hopeful(
        self, found: Iterator[NewConversation | Unread]
    ) -> Iterator[NewConversation | Unread]:
        """Gives up on a file that begins with nothing but what can't be read."""
        unread: list[Unread] = []
        for one in found:
            if isinstance(one, NewConversation):
                yield from unread
                yield one
                yield from found
                return
            unread.append(one)
            if len(unread) == _HOPELESS:
                break
        raise InputError(
            f"{self._file} has no conversation that can be imported"
            + (f": the first one {unread[0].reason}." if unread else "."),
            "localchat history import --help",
        )

    def _tell(self, unread: Unread, status: output.Status) -> None:
        self.num_unread += 1
        if self.num_unread <= _LISTED:
            self._unread.append(unread)
        if self.num_unread <= _NAMED:
            status.clear()
            output.note(f"Conversation {unread.number:,} {unread.reason}.")
        elif self.num_unread == _NAMED + 1:
            status.clear()
            output.note("More can't be imported; --json names them.")


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file, or what is in the archive. Raises InputError, also for what reading it raises."""
    try:
        if str(path) == "-":
            if sys.stdin is None or sys.stdin.isatty():
                raise InputError("There is no file to read.", "localchat history import FILE")
            yield sys.stdin.buffer
            return
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive, _member(archive, path) as data:
                    yield data
                return
            file.seek(0)
            yield file
    except OSError as error:
        if error.filename != str(path):
            raise
        raise InputError(f"{path} can't be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} can't be unpacked: {error}.") from error


def _member(archive: zipfile.ZipFile, path: Path) -> BinaryIO:
    names = (n for n in archive.namelist() if PurePosixPath(n).name == "conversations.json")
    name = next(names, None)
    if name is None:
        raise InputError(f"There is no conversations.json in {path}.")
    try:
        return cast("BinaryIO", archive.open(name))
    except (NotImplementedError, RuntimeError) as error:  # packed or locked in another way
        raise InputError(f"{path} can't be unpacked: {error}.") from error
