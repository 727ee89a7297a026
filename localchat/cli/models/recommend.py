"""`localchat models recommend`: the one model to begin with on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localchat import config, paths
from localchat.cli import output
from localchat.paths import Paths

if TYPE_CHECKING:
    from localchat.config import Settings
    from localchat.registry.fitting.recommendation import Recommendation


@click.command("recommend")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(as_json: bool) -> None:
    """Name one chat model that fits this machine well, and say why. Never uses the network."""
    from localchat.cli.models.fit import as_row

    places = paths.find()
    best = choose(config.load(places), places)
    candidate = best.fit.candidate
    next_command = (
        f"localchat -m {candidate.name} …"
        if candidate.installed
        else f"localchat pull {candidate.name}"
    )
    if as_json:
        row = as_row(best.fit)
        output.json_line(row | {"reason": best.reason, "command": next_command})
        return
    output.line(candidate.name)
    output.line(best.reason)
    if candidate.licence_note:
        output.line(f"Licence: {candidate.licence}. {candidate.licence_note}")
    output.line("It is installed already." if candidate.installed else "To download it:")
    output.line(f"  {next_command}")


def choose(settings: Settings, places: Paths) -> Recommendation:
    """What `recommend` names. Raises OutOfSpace if no chat model fits."""
    from localchat.registry.fitting.recommendation import recommend
    from localchat.registry.fitting.survey import survey

    return recommend(survey(settings, places)[1])
