"""Says once, after the starter model's answer, which larger model this machine could run."""

from __future__ import annotations

import contextlib
import os
import sys

from localchat import paths
from localchat.cli import output
from localchat.config import Settings
from localchat.paths import Paths, make_private
from localchat.types import ModelRef

_MARK = "recommended"  # a file in the state folder: it was said


def after(model: ModelRef, settings: Settings) -> None:
    """Prints the hint on stderr, if both streams are a terminal, and never again.

    It takes most of a second, that one time. Nothing that goes wrong in it is worth a word.
    """
    if model.name != Settings().model or settings.offline:
        return
    # A KeyboardInterrupt too: the answer is there, and whoever wants to go on may.
    with contextlib.suppress(Exception, KeyboardInterrupt):
        places = paths.find()
        if sys.stdout.isatty() and sys.stderr.isatty():
            _mark(places)
            _recommend(settings, places)


def _mark(places: Paths) -> None:
    """Raises FileExistsError but for the first time.

    The mark comes before the work: so a fault does not come each time.
    """
    mark = make_private(places.state) / _MARK
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _recommend(settings: Settings, places: Paths) -> None:
    from localchat.cli.models.recommend import choose
    from localchat.registry.fitting.ranking import size

    best = choose(settings, places).fit
    candidate = best.candidate
    if candidate.name == settings.model:
        return
    speed = f", about {best.speed:.0f} tokens/s" if best.speed else ""
    what = (
        f"localchat -m {candidate.name} … (it is installed{speed})"
        if candidate.installed
        else f"localchat pull {candidate.name} ({size(candidate.download)}{speed})"
    )
    output.note(f"A larger model fits this machine: {what}. See also: localchat models fit")
