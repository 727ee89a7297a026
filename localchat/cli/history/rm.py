"""`localchat history rm`: deletes conversations."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.agreement import agreed
from localchat.cli.history.describe import count
from localchat.cli.history.opened import existing, find


@click.command("rm")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(ids: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Delete conversations.

    What engines keep of them on disk goes too.
    """
    from localchat.store.removal import delete

    places = paths.find()
    with existing(places) as store:
        chosen = list({one.id: one for one in (find(store, id_) for id_ in ids)}.values())
        assert store is not None
        names = [store.short_id(one.id) for one in chosen]
        titles = ", ".join(f"{name} ({one.title})" for name, one in zip(names, chosen, strict=True))
        if not yes and not agreed(
            f"Delete {titles}?", f"localchat history rm -y {' '.join(names)}"
        ):
            output.note("Nothing was deleted.")
            return
        removed = delete(store, [one.id for one in chosen], places)
    if as_json:
        output.json_line(removed._asdict() | {"ids": [one.id for one in chosen]})
        return
    output.line(f"Deleted {count(removed.conversations, 'conversation')}.")
