"""`localchat models outdated`: which installed models have been replaced since."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.models.installed_models import chosen
from localchat.cli.options import offline_option
from localchat.cli.progress import Silent
from localchat.errors import NetworkNeeded


@click.command("outdated")
@click.argument("name", required=False)
@click.option("--online", is_flag=True, help="Ask the hub too, for models that come from there.")
@offline_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(name: str | None, online: bool, offline: bool, as_json: bool) -> None:
    """Compare what is installed with the catalogue of this localchat.

    What is outdated goes on working; localchat pull NAME brings the new one.
    """
    from localchat.registry.care.outdated import compare

    places = paths.find()
    if online and (offline or config.load(places).offline):
        raise NetworkNeeded(
            "The hub can't be asked: localchat is offline.", "localchat models outdated"
        )
    records = chosen(name, places)
    found = [compare(record, places, Silent(), online=online) for record in records]
    if as_json:
        output.json_line([asdict(each) for each in found])
        return
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        offered = (
            f"  {each.offered[:12]} by the {each.by}"
            if each.state == "outdated" and each.offered
            else ""
        )
        output.line(f"{each.name:{width}}  {each.state:9}  {each.installed[:12]}{offered}")
    old = [each.name for each in found if each.state == "outdated"]
    if old:
        output.note(f"To take over what is new: localchat pull {old[0]}")
    elif not found:
        output.note("No model is installed.")
