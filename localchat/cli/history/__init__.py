"""`localchat history`: the conversations that are kept. One file a command."""

from __future__ import annotations

import click

from localchat.cli.lazy import LazyGroup

_OWN = (
    "list",
    "show",
    "search",
    "tree",
    "rename",
    "continue",
    "replay",
    "export",
    "import",
    "rm",
    "purge",
    "stats",
    "path",
)
# Where a module can't be called as its command is.
_MODULES = {
    "list": "list_conversations",
    "continue": "continue_one",
    "import": "import_file",
}


@click.group(
    "history",
    cls=LazyGroup,
    modules={name: f"localchat.cli.history.{_MODULES.get(name, name)}" for name in _OWN},
)
def command() -> None:
    """Find, continue, carry away and delete conversations.

    An ID is the beginning of a conversation's id, as list shows it; "-" is the last conversation.
    """
