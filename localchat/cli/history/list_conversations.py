"""`localchat history list`: the conversations, those that were last used first."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import conversation_json, short_model, when
from localchat.cli.history.opened import existing, say_none
from localchat.store.records import Listed

_DAY = 86_400


@click.command("list")
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, metavar="N", help="So many. [default: 20]"
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(limit: int, as_json: bool) -> None:
    """List conversations, the last used first.

    The first column is the id that the other commands take.
    """
    with existing(paths.find()) as store:
        listed = store.newest(limit) if store else []
        total = store.stats().conversations if store and len(listed) == limit else len(listed)
    if as_json:
        output.json_line(
            [
                conversation_json(one.conversation, one.short_id) | {"messages": one.messages}
                for one in listed
            ]
        )
        return
    if not listed:
        say_none()
        return
    if output.is_terminal():
        _by_day(listed)
    else:
        _plain(listed)
    if total > len(listed):
        output.note(f"These are {len(listed):,} of {total:,}. For more: --limit N")


def _by_day(listed: Sequence[Listed]) -> None:
    day = ""
    for one in listed:
        updated = one.conversation.updated
        if (found := _day(updated)) != day:
            if day:
                output.line()
            day = found
            output.heading(day)
        output.line(f"  {_row(one, listed, '%H:%M')}")


def _plain(listed: Sequence[Listed]) -> None:
    for one in listed:
        output.line(_row(one, listed, "%Y-%m-%d %H:%M"))


def _row(one: Listed, listed: Sequence[Listed], form: str) -> str:
    """The title comes last: how wide a letter is, only the terminal knows."""
    id_width = max(len(each.short_id) for each in listed)
    model_width = max(len(short_model(each.conversation)) for each in listed)
    return (
        f"{one.short_id:{id_width}}  {when(one.conversation.updated, form)}  {one.messages:>4}"
        f"  {short_model(one.conversation):{model_width}}  {one.conversation.title}"
    )


def _day(seconds: float) -> str:
    today = when(time.time(), "%Y-%m-%d")
    day = when(seconds, "%Y-%m-%d")
    if day == today:
        return "Today"
    # Noon: the day before may have had 23 hours.
    noon = time.mktime((*time.strptime(today, "%Y-%m-%d")[:3], 12, 0, 0, 0, 0, -1))
    if day == when(noon - _DAY, "%Y-%m-%d"):
        return "Yesterday"
    return when(seconds, "%A, %d %B %Y")
