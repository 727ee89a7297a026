"""Writing a prompt in the user's own editor."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from localchat.errors import LocalchatError
from localchat.paths import make_private


def edit(text: str, folder: Path) -> str:
    """`text` as the user left it in $VISUAL or $EDITOR, or in an editor that is found.

    To be called while nobody else uses the terminal; returns when the editor has ended.
    `folder`: a private one; the file is in it meanwhile, with what the editor puts beside it.
    Raises LocalchatError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="prompt-", dir=make_private(folder)) as own:
            path = Path(own) / "prompt.md"
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8", newline="\n")
            click.edit(filename=str(path))
            # What is no UTF-8 shows as such in the prompt, where all else would be lost.
            edited = path.read_text(encoding="utf-8-sig", errors="replace")
    except (click.ClickException, ValueError) as error:
        reason = error.message if isinstance(error, click.ClickException) else str(error)
        raise LocalchatError(
            f"The editor did not end well, so the text is as it was: {reason}.",
            "Set EDITOR to the one you want, for example: export EDITOR=nano",
        ) from error
    except OSError as error:
        raise LocalchatError(f"The text can't be edited: {error.strerror}.") from error
    return edited if text.endswith("\n") else edited.removesuffix("\n")
