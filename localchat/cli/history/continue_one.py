"""`localchat history continue`: asks further in a conversation."""

from __future__ import annotations

import click

from localchat.cli import ask


@click.command(
    "continue",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("id_", metavar="ID")
@click.argument("arguments", metavar="[PROMPT]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(ctx: click.Context, id_: str, arguments: tuple[str, ...]) -> None:
    """Ask further in a conversation; without a PROMPT, let a reply that was cut off go on.

    The same as localchat ask --cid ID PROMPT. All options of ask can be given after ID.
    """
    goes_on = ["-c"] if id_ == "-" else ["--cid", id_]
    with ask.command.make_context("continue", [*goes_on, *arguments], parent=ctx.parent) as context:
        ask.command.invoke(context)
