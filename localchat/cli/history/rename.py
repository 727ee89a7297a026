"""`localchat history rename`: a title of one's own."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.history.describe import conversation_json
from localchat.cli.history.opened import existing, find
from localchat.cli.prompt_text import argument_text


@click.command("rename")
@click.argument("id_", metavar="ID")
@click.argument("title", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(id_: str, title: tuple[str, ...], as_json: bool) -> None:
    """Give a conversation another title.

    Without TITLE it is called by its first message again.
    """
    own = argument_text(" ".join(title), "The title")
    with existing(paths.find()) as store:
        conversation = find(store, id_)
        assert store is not None
        renamed = store.rename(conversation.id, own)
        short_id = store.short_id(renamed.id)
    if as_json:
        output.json_line(conversation_json(renamed, short_id))
        return
    output.line(f"{short_id}  {renamed.title}")
