"""`localchat models verify`: proves installed files, offline."""

from __future__ import annotations

from dataclasses import asdict

import click

from localchat import paths
from localchat.cli import output
from localchat.cli.models.installed_models import chosen
from localchat.cli.progress import shown
from localchat.errors import VerificationFailed
from localchat.registry.care.integrity import Finding, verify_model
from localchat.registry.installed import Record


@click.command("verify")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Verify every installed model.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_context
def command(ctx: click.Context, name: str | None, everything: bool, as_json: bool) -> None:
    """Hash the files of NAME, or of all models, and name what is damaged.

    Exit code 4 if anything is; nothing is downloaded.
    """
    if name and everything:
        raise click.UsageError("Name a model, or give --all.", ctx)
    places = paths.find()
    records = chosen(name, places)
    findings: list[Finding] = []
    for record in records:
        with shown(f"Verifying {record.name}", lines=False) as watcher:
            found = list(verify_model(record, places, watcher.progress))
        findings += found
        if not as_json:
            _print(record, found)
    if as_json:
        output.json_line([asdict(finding) for finding in findings])
    elif not records:
        output.note("No model is installed.")
    bad = list(dict.fromkeys(finding.model for finding in findings if finding.state != "ok"))
    if bad:
        raise VerificationFailed(
            f"Damaged or missing: {', '.join(bad)}.", f"localchat models repair {bad[0]}"
        )


def _print(record: Record, findings: list[Finding]) -> None:
    bad = [finding for finding in findings if finding.state != "ok"]
    if not bad:
        output.line(f"{record.name}: ok, {record.size / 1e6:,.1f} MB")
    for finding in bad:
        parts: list[str] = [finding.state]
        if finding.reason:
            parts.append(finding.reason)
        if finding.state == "damaged" and finding.damaged:
            spans = ", ".join(f"{start:,} to {stop:,}" for start, stop in finding.damaged)
            parts.append(f"bytes {spans}")
        output.line(f"{record.name}: {'; '.join(parts)} ({finding.path})")
