"""`localchat models`: what can be had, what is installed, and its care. One file a command."""

from __future__ import annotations

import click

from localchat.cli.lazy import LazyGroup

_OWN = (
    "show",
    "fit",
    "recommend",
    "verify",
    "repair",
    "import",
    "export",
    "rm",
    "gc",
    "outdated",
    "alias",
    "path",
)
# Where a module can't be called as its command is.
_MODULES = {"list": "list_models", "import": "import_model"}


@click.group(
    "models",
    cls=LazyGroup,
    modules={
        "list": "localchat.cli.models.list_models",
        "pull": "localchat.cli.pull",
        **{name: f"localchat.cli.models.{_MODULES.get(name, name)}" for name in _OWN},
    },
)
def command() -> None:
    """Find models, download them once, and look after them.

    Only pull and repair use the network, and what is asked to: fit of a model on the hub, and
    outdated --online.
    """
