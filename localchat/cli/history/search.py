"""`localchat history search`: finds what was said."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import VOICES, conversation_json, when
from localchat.cli.history.opened import existing, say_none
from localchat.store.records import Hit


@click.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, metavar="N", help="So many. [default: 20]"
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find messages by their WORDS, and titles.

    A message has all of them, in any order. "Words in quotes" stand next to each other. Accents
    and case don't count.
    """
    with existing(paths.find()) as store:
        hits = store.search(" ".join(words), limit) if store else []
    if as_json:
        output.json_line([_json(hit) for hit in hits])
        return
    if store is None:
        say_none()
        return
    if not hits:
        output.note("Nothing was found.")
    for place, hit in enumerate(hits):
        if place:
            output.line()
        _print(hit)


def _print(hit: Hit) -> None:
    day = when(hit.created, "%Y-%m-%d")
    if hit.role is None:
        output.line(f"{hit.short_id}  {day}")
        indent = "  "
    else:
        who = f"{VOICES[hit.role]} #{hit.message}"
        output.line(f"{hit.short_id}  {day}  {hit.conversation.title}")
        indent = f"  {who}: "
    shift = len(indent)
    output.marked_line(
        f"{indent}{hit.snippet}", [(start + shift, end + shift) for start, end in hit.marks]
    )


def _json(hit: Hit) -> dict[str, object]:
    return {
        "conversation": conversation_json(hit.conversation, hit.short_id),
        "message": hit.message,
        "role": hit.role,
        "created": hit.created,
        "snippet": hit.snippet,
        "marks": [list(mark) for mark in hit.marks],
    }
