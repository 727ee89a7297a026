"""`localchat history export`: conversations for people, for other programs, for another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import count
from localchat.cli.history.opened import existing, find, say_none
from localchat.errors import UsageError
from localchat.sanitize import clean, escape
from localchat.store.formats.whole_file import written_whole
from localchat.store.records import Conversation
from localchat.store.store import Store

_PAGE = 100

Write = Callable[[str], object]


@click.command("export")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="Every conversation.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "json", "openai", "batch"]),
    default="markdown",
    help="markdown: to be read. json: everything, for import. openai: a line of messages each."
    " batch: a row each that asks the last question again.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write to FILE, readable by you alone, and not to standard output.",
)
def command(
    ids: tuple[str, ...], all_: bool, format_: str, as_json: bool, target: Path | None
) -> None:
    """Write conversations in another form.

    By default the last one. json has all branches, the others the current one. What was written as
    json or openai can be imported again; localchat batch answers a batch.
    """
    if ids and all_:
        raise UsageError("There are IDs beside --all.", "localchat history export --help")
    format_ = "json" if as_json else format_
    with existing(paths.find()) as store:
        if store is None and all_:
            say_none()
        chosen = _all(store) if all_ else iter([find(store, id_) for id_ in ids or ("-",)])
        with _opened(target) as write:
            written = _WRITERS[format_](store, chosen, write)
    if target is not None and str(target) != "-":
        output.note(f"Wrote {count(written, 'conversation')}: {target}")


def _all(store: Store | None) -> Iterator[Conversation]:
    """The oldest last, as in the list."""
    last: Conversation | None = None
    while store is not None and (page := store.newest(_PAGE, last)):
        yield from (one.conversation for one in page)
        last = page[-1].conversation


def _markdown(store: Store | None, chosen: Iterator[Conversation], write: Write) -> int:
    from localchat.store.formats.markdown import to_markdown

    number = 0
    for number, conversation in enumerate(chosen, 1):
        assert store is not None
        text = to_markdown(conversation, store.path(conversation.id))
        write(clean(text if number == 1 else f"\n---\n\n{text}"))
    return number


def _json(store: Store | None, chosen: Iterator[Conversation], write: Write) -> int:
    from localchat.store.formats.own import to_json

    number = 0
    write("[")
    for number, conversation in enumerate(chosen, 1):
        assert store is not None
        value = to_json(conversation, store.tree(conversation.id))
        write(f"{',' if number > 1 else ''}\n{escape(json.dumps(value, ensure_ascii=False))}")
    write("\n]\n")
    return number


def _openai(store: Store | None, chosen: Iterator[Conversation], write: Write) -> int:
    from localchat.store.formats.openai import to_json

    number = 0
    for conversation in chosen:
        assert store is not None
        value = to_json(store.path(conversation.id))
        if value["messages"]:
            number += 1
            write(f"{escape(json.dumps(value, ensure_ascii=False))}\n")
    return number


def _batch(store: Store | None, chosen: Iterator[Conversation], write: Write) -> int:
    from localchat.store.formats.batch import to_json

    number = 0
    for conversation in chosen:
        assert store is not None
        if row := to_json(conversation, store.path(conversation.id)):
            number += 1
            write(f"{escape(json.dumps(row, ensure_ascii=False))}\n")
    return number


_WRITERS = {"markdown": _markdown, "json": _json, "openai": _openai, "batch": _batch}


@contextmanager
def _opened(target: Path | None) -> Iterator[Write]:
    """Where to write: a file gets its name when it is whole."""
    if target is None or str(target) == "-":
        yield output.write
        return
    with written_whole(target) as file:
        yield file.write
