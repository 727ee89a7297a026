"""`localchat history show`: what was said in a conversation, or what the model was shown of it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import (
    VOICES,
    conversation_json,
    count,
    message_json,
    voice,
    when,
)
from localchat.cli.history.opened import existing, find
from localchat.cli.history.tree_of import Tree
from localchat.errors import ConversationNotFound
from localchat.session.messages import Sent, dropped_of, to_send
from localchat.session.options import system_of
from localchat.store.records import Conversation, StoredMessage, Trim


@click.command("show")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--message", type=int, metavar="N", help="Only the message with this number.")
@click.option(
    "--as-sent", is_flag=True, help="What the model was shown, before the last reply or that of N."
)
@click.option("--reasoning", is_flag=True, help="Also what the model thought.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(
    id_: str | None, message: int | None, as_sent: bool, reasoning: bool, as_json: bool
) -> None:
    """Show a conversation, by default the last one.

    Where it has branches, the current one is shown; tree shows all.
    """
    with existing(paths.find()) as store:
        conversation = find(store, id_)
        assert store is not None
        short_id = store.short_id(conversation.id)
        tree = Tree(store.tree(conversation.id))
    if message is not None and message not in tree.messages:
        raise ConversationNotFound(
            f"The conversation {short_id} has no message #{message}.",
            f"localchat history tree {short_id}",
        )
    path = tree.path(conversation.leaf if message is None else message)
    about = conversation_json(conversation, short_id)
    if as_sent:
        _as_sent(path, about if as_json else None)
        return
    shown = path if message is None else path[-1:]
    if as_json:
        output.json_line(about | {"messages": [message_json(one, tree) for one in shown]})
    elif message is not None:
        _print(shown, tree, reasoning=reasoning)
    else:
        _head(conversation, short_id, tree)
        _print(shown, tree, reasoning=reasoning)


def _head(conversation: Conversation, short_id: str, tree: Tree) -> None:
    number = sum(one.role != "system" for one in tree.messages.values())
    output.heading(conversation.title)
    output.line(f"{short_id} · {when(conversation.created)} · {count(number, 'message')}")
    output.line()


def _print(messages: Sequence[StoredMessage], tree: Tree, *, reasoning: bool) -> None:
    for place, message in enumerate(messages):
        if place:
            output.line()
        output.heading(voice(message, tree))
        if reasoning and message.reasoning:
            output.line("\n".join(f"| {line}" for line in message.reasoning.strip().split("\n")))
        if message.content:
            output.line(message.content.rstrip("\n"))


def _as_sent(path: Sequence[StoredMessage], about: dict[str, object] | None) -> None:
    """What was shown to the model for the last reply on the path; `about`: as JSON, with this."""
    last = next((n for n in range(len(path) - 1, -1, -1) if path[n].role == "assistant"), None)
    reply = None if last is None else path[last]
    made = reply.generations[-1] if reply and reply.generations else None
    sent = to_send(path[:last], made and system_of(made.provenance.params))
    trim = made and made.trim
    dropped = set(dropped_of(sent, trim)) if trim else set()
    kept = [one for place, one in enumerate(sent) if place not in dropped]
    if about is not None:
        messages = [
            {"role": one.message.role, "content": one.message.content, "ids": list(one.ids)}
            for one in kept
        ]
        output.json_line(
            about
            | {
                "reply": reply.id if reply else None,
                "messages": messages,
                "dropped": list(trim.dropped) if trim else [],
                "summary": trim.summary if trim else None,
            }
        )
        return
    if reply is not None:
        output.line(f"For the reply #{reply.id} the model was shown:")
        output.line()
    _print_sent(sent, dropped, trim)


def _print_sent(sent: Sequence[Sent], dropped: set[int], trim: Trim | None) -> None:
    is_said = False
    for place, one in enumerate(sent):
        if place not in dropped:
            numbers = " ".join(f"#{id_}" for id_ in one.ids)
            output.heading(f"{VOICES[one.message.role]} {numbers}".rstrip())
            output.line(one.message.content.rstrip("\n"))
        elif is_said:
            continue
        else:
            is_said = True
            assert trim is not None
            left_out = f"{count(len(dropped), 'message')} left out: the context was full."
            if trim.summary is None:
                output.line(f"({left_out})")
            else:
                output.line(f"({left_out} In their place the model had this summary:)")
                output.line(trim.summary.rstrip("\n"))
        if place < len(sent) - 1:
            output.line()
