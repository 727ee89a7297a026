"""Asks before something is deleted for good."""

from __future__ import annotations

import sys

import click

from localchat.errors import UsageError
from localchat.sanitize import clean


def agreed(question: str, command: str) -> bool:
    """Raises UsageError where nobody can be asked; `command` is the one that does not ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on whether to delete it.", command)
    return click.confirm(clean(question), err=True)
