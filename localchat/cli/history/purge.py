"""`localchat history purge`: deletes what was not used for long."""

from __future__ import annotations

import re
import time
from datetime import datetime

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.agreement import agreed
from localchat.cli.history.describe import count, size, when
from localchat.cli.history.opened import existing

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


def _moment(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """An age or a date, as seconds since the epoch."""
    if found := _AGE.fullmatch(value.strip().lower()):
        return time.time() - int(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(value.strip()).timestamp()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is neither an age such as 30d nor a date such as 2025-01-31.", ctx, param
        ) from error


@click.command("purge")
@click.option(
    "--older-than",
    "before",
    callback=_moment,
    required=True,
    metavar="AGE|DATE",
    help="90m, 12h, 30d, 8w, or a date: 2025-01-31.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(before: float, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete what was last used long ago.

    The room on the disk is given back, and what engines keep of it there goes too.
    """
    from localchat.store.removal import Removed, older, purge

    places = paths.find()
    with existing(places) as store:
        old = older(store, before) if store else []
        messages = sum(one.messages for one in old)
        what = f"{count(len(old), 'conversation')} with {count(messages, 'message')}"
        removed = Removed(len(old) if dry_run else 0, 0, 0)
        if store is not None and old and not dry_run:
            if not yes and not agreed(
                f"Delete {what}, last used before {when(before)}?",
                f"localchat history purge --older-than {when(before, '%Y-%m-%dT%H:%M')} -y",
            ):
                output.note("Nothing was deleted.")
                return
            removed = purge(store, before, places)
    if as_json:
        output.json_line(
            removed._asdict() | {"messages": messages, "before": before, "dry_run": dry_run}
        )
    elif not old:
        output.note(f"No conversation was last used before {when(before)}.")
    elif dry_run:
        output.line(f"Would delete {what}.")
    else:
        saved = f" and {count(removed.snapshots, 'saved state')}" if removed.snapshots else ""
        output.line(f"Deleted {what}{saved}: {size(removed.freed)} are free now.")
