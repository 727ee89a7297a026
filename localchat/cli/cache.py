"""`localchat cache`: the states of conversations that are kept on disk."""

from __future__ import annotations

import time
from collections import Counter

import click

from localchat import config, paths, snapshot_files
from localchat.cli import output


@click.group("cache", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show or clear what is kept on disk so that conversations go on at once.

    Engines keep the computed state of a conversation, so that nothing of it has to be computed
    again when it goes on after the engine has left. The states used longest ago make room.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show(as_json: bool = False) -> None:
    """Show how many states are kept, and how much of the disk they take."""
    places = paths.find()
    budget = config.load(places).snapshot_budget
    if budget is None:
        budget = snapshot_files.default_budget(places.snapshots)
    sizes: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    entries = snapshot_files.entries(places.snapshots)
    for entry in entries:
        if snapshot_files.is_unfinished(entry.path):
            continue
        head = snapshot_files.load_head(entry.path)
        if head is not None:
            sizes[head.model] += entry.size
            numbers[head.model] += 1
    used = sum(entry.size for entry in entries)
    oldest = time.time() - entries[0].used if entries else None
    if as_json:
        output.json_line(
            {
                "folder": str(places.snapshots),
                "snapshots": numbers.total(),
                "bytes": used,
                "budget": budget,
                "unused_for": oldest,
                "models": [
                    {"model": model, "snapshots": numbers[model], "bytes": size}
                    for model, size in sizes.most_common()
                ],
            }
        )
        return
    output.line(f"folder     {places.snapshots}")
    output.line(f"snapshots  {numbers.total()}")
    output.line(f"size       {used / 1e6:.1f} MB of {budget / 1e6:.0f} MB")
    if oldest is not None:
        output.line(f"oldest     last used {_ago(oldest)} ago")
    for model, size in sizes.most_common():
        output.line(f"{size / 1e6:9.1f} MB  {numbers[model]:5}  {model or 'unnamed'}")


@command.command("clear")
def clear() -> None:
    """Remove all of them, also while engines run; conversations are then computed again."""
    removed = snapshot_files.clear(paths.find().snapshots)
    freed = sum(entry.size for entry in removed)
    output.note(f"Removed {len(removed)} snapshots: {freed:,} bytes ({freed / 1e6:.1f} MB) freed.")


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"
