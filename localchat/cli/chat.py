"""`localchat chat`, and `localchat` alone on a terminal: the chat screen."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import click

from localchat import config, paths
from localchat.cli.options import history_options, offline_option, preset_options
from localchat.errors import UsageError
from localchat.paths import Paths


@click.command("chat")
@click.option("-m", "--model", metavar="NAME", help="A model's name, or the path of a .gguf file.")
@click.option("-s", "--system", metavar="TEXT", help="Instructions for new chats.")
@preset_options
@history_options
@click.option(
    "--from",
    "row",
    metavar="OUT:ID",
    help="Open a row of a batch as a conversation: its output, a colon, its custom_id.",
)
@offline_option
def command(
    model: str | None,
    system: str | None,
    preset: str | None,
    parameters: dict[str, str],
    goes_on: bool,
    cid: str | None,
    log: bool | None,
    row: str | None,
    offline: bool,
) -> None:
    """Open the chat screen. localchat alone, on a terminal, does the same.

    With -c or --cid it opens with a conversation of the history, with --from with an answer of
    localchat batch; with --no-log nothing of the first chat is kept.
    """
    if sum((goes_on, cid is not None, row is not None)) > 1:
        raise click.UsageError("-c, --cid and --from each open a conversation: give one.")
    _refuse_without_terminal()
    places = paths.find()
    settings = config.load(places)
    settings = replace(settings, offline=offline or settings.offline)
    conversation = None
    if row is not None:
        conversation = _row(row, places)
    elif goes_on or cid is not None:
        conversation = _find(cid, places)
    # 0.3 s, most of it Textual.
    from localchat.tui.factory import make_app, run
    from localchat.tui.start import Start

    beginning = None
    flags = {"model": model, "system": system, "preset": preset or settings.preset}
    if any(flags.values()) or parameters:  # what can't be is said before the screen opens
        from localchat.tui.chats.settings import configured

        beginning = configured(settings, places, flags | {"preset": preset}, parameters)
    keeps = settings.log if log is None else log
    start = Start(conversation, is_private=not keeps and conversation is None)
    code = run(make_app(settings, places, beginning, start))
    if code:
        raise click.exceptions.Exit(code)


def _refuse_without_terminal() -> None:
    """Textual would write its escapes into a pipe, and wait for keys that never come."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # it is drawn on the last one
    is_complete = all(stream is not None and stream.isatty() for stream in streams)
    if is_complete and os.environ.get("TERM") != "dumb":
        return
    raise UsageError(
        "The chat screen needs a terminal, for what is typed and for what is shown.",
        'To ask one question: localchat "Why is the sky blue?"',
    )


def _find(id_: str | None, places: Paths) -> str:
    """The whole id of the conversation that begins so, or of the last one."""
    from localchat.store.store import Store

    with Store.open(places) as store:
        found = store.latest() if id_ is None else store.find(id_)
    if found is None:
        raise UsageError("There is no conversation to go on with.", "Begin one: localchat chat")
    return found.id


def _row(name: str, places: Paths) -> str:
    """The whole id of the conversation that a row of a batch becomes."""
    from localchat.batch.opening import open_row
    from localchat.store.store import Store

    with Store.open(places) as store:
        return open_row(name, store)
