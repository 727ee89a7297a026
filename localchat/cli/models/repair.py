"""`localchat models repair`: mends a damaged model."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.models.installed_models import find
from localchat.cli.options import offline_option
from localchat.cli.progress import shown


@click.command("repair")
@click.argument("name")
@offline_option
@click.option(
    "--token", is_flag=True, help="Show the hub your access token, for models that need one."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(name: str, offline: bool, token: bool, as_json: bool) -> None:
    """Verify NAME and fetch what is damaged: only those parts, where the source can send parts."""
    from localchat.registry.care.repair import repair

    places = paths.find()
    offline = offline or config.load(places).offline
    record = find(name, places)
    with shown(f"Repairing {record.name}") as watcher:
        done = repair(record, places, offline=offline, watcher=watcher, token=token)
    if as_json:
        output.json_line(
            {
                "name": record.name,
                "repaired": [asdict(finding) for finding in done.findings],
                "fetched": done.fetched,
            }
        )
    elif done.findings:
        output.line(f"{record.name}: repaired; {done.fetched / 1e6:,.1f} MB were fetched.")
    else:
        output.line(f"{record.name}: nothing is damaged.")
