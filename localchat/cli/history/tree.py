"""`localchat history tree`: all branches of a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import conversation_json, message_json, voice
from localchat.cli.history.opened import existing, find
from localchat.cli.history.tree_of import Tree
from localchat.store.records import StoredMessage

_LONGEST = 60  # characters of a message
_DEEPEST = 60  # characters of lines before it


class _Pen(NamedTuple):
    current: str
    other: str
    branch: str
    last: str
    beside: str
    under: str = "  "


_DRAWN = _Pen("●", "○", "├─", "└─", "│ ")
_ASCII = _Pen("*", "o", "|-", "`-", "| ")


@click.command("tree")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(id_: str | None, as_json: bool) -> None:
    """Show all branches of a conversation.

    By default of the last one. An edited message and a further reply each begin a branch. The
    current one is marked.
    """
    with existing(paths.find()) as store:
        conversation = find(store, id_)
        assert store is not None
        short_id = store.short_id(conversation.id)
        tree = Tree(store.tree(conversation.id))
    current = {message.id for message in tree.path(conversation.leaf)}
    if as_json:
        messages = [
            message_json(message, tree) | {"is_current": message.id in current}
            for message in tree.messages.values()
        ]
        about = conversation_json(conversation, short_id)
        output.json_line(about | {"leaf": conversation.leaf, "messages": messages})
        return
    output.heading(conversation.title)
    pen = _DRAWN if output.can_draw("".join(_DRAWN)) else _ASCII
    for line in _lines(tree, current, pen):
        output.line(line)


def _lines(tree: Tree, current: set[int], pen: _Pen) -> Iterator[str]:
    """One a message. What follows without a branch stays in its column."""
    # (message, what stands before its line, what stands before the lines below it)
    stack = [(root, *_begins(tree, root, "", pen)) for root in reversed(tree.below(None))]
    while stack:
        message, before, beside = stack.pop()
        mark = pen.current if message.id in current else pen.other
        if len(before) > _DEEPEST:
            before = f"...{before[-_DEEPEST:]}"
        said = f": {text}" if (text := _beginning(message)) else ""
        yield f"{before}{mark} {voice(message, tree)}{said}"
        stack += [
            (below, *_begins(tree, below, beside, pen))
            for below in reversed(tree.below(message.id))
        ]


def _begins(tree: Tree, message: StoredMessage, beside: str, pen: _Pen) -> tuple[str, str]:
    place, number = tree.place(message)
    if number == 1:
        return beside, beside
    beside = beside[-_DEEPEST:]
    if place < number:
        return beside + pen.branch, beside + pen.beside
    return beside + pen.last, beside + pen.under


def _beginning(message: StoredMessage) -> str:
    text = " ".join(message.content[: 4 * _LONGEST].split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
