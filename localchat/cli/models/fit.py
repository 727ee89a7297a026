"""`localchat models fit`: what this machine can run, before anything is downloaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import offline_option

if TYPE_CHECKING:
    from localchat.registry.fitting.candidates import Candidate
    from localchat.registry.fitting.capacity import Capacity
    from localchat.registry.fitting.ranking import Fit


@click.command("fit")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--ctx", type=click.IntRange(1), metavar="N", help="Tokens of context; else 4,096.")
@offline_option
@click.option("--token", is_flag=True, help="Show the hub your access token, with a hub's NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def command(
    names: tuple[str, ...], ctx: int | None, offline: bool, token: bool, as_json: bool
) -> None:
    """Say which models fit this machine, and how fast they are likely to write. Best first.

    Without a NAME, all of the catalogue, without using the network. NAME is what pull takes, or
    the path of a .gguf file; of a file on the hub only the header is read.

    A "~" marks what is estimated; ">" a speed that a GPU exceeds. Speeds without either were
    measured in real use on this machine.
    """
    from localchat.registry.fitting.survey import survey

    places = paths.find()
    settings = config.load(places)
    offline = offline or settings.offline

    def named() -> list[Candidate]:
        from localchat.registry.fitting import asked

        return [
            asked.candidate(name, places, offline=offline, token=token, note=output.note)
            for name in names
        ]

    here, ranked = survey(settings, places, ctx, named if names else None)
    if as_json:
        output.json_line({"machine": asdict(here), "models": [as_row(each) for each in ranked]})
        return
    _print_machine(here)
    _print_table(ranked)
    if names:
        _print_parts(ranked)


def as_row(fit: Fit) -> dict[str, Any]:
    """One model as JSON."""
    candidate = fit.candidate
    return {
        "name": candidate.name,
        "quantization": candidate.quantization,
        "kind": candidate.kind,
        "parameters": candidate.parameters,
        "released": candidate.released,
        "licence": candidate.licence,
        "licence_note": candidate.licence_note,
        "pinned": candidate.is_pinned,
        "installed": candidate.installed,
        "size": candidate.download,
        "context": fit.context,
        "needs": asdict(fit.needs) | {"total": fit.needs.total},
        "estimated": candidate.is_estimated,
        "tokens_per_second": fit.speed and round(fit.speed, 1),
        "speed_basis": fit.basis,
        "verdict": fit.verdict,
        "reasons": list(fit.reasons),
    }


def _print_machine(here: Capacity) -> None:
    from localchat.registry.fitting.ranking import size

    speed = f", read at {here.bandwidth / 1e9:.1f} GB/s" if here.bandwidth else ""
    vram = f"{size(here.vram)} of VRAM" if here.vram else "no VRAM"
    output.line(f"{size(here.memory)} of memory{speed}; {vram}; {size(here.disk)} of disk free")
    output.line()


def _print_table(ranked: list[Fit]) -> None:
    rows = [("name", "quant", "size", "needs", "tokens/s", "verdict"), *map(_cells, ranked)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for name, quantization, size, needs, speed, verdict in rows:
        output.line(
            f"{name:{widths[0]}}  {quantization:{widths[1]}}  {size:>{widths[2]}}"
            f"  {needs:>{widths[3]}}  {speed:>{widths[4]}}  {verdict}"
        )


def _cells(fit: Fit) -> tuple[str, ...]:
    from localchat.registry.fitting.ranking import size, speed

    candidate = fit.candidate
    guess = "~" if candidate.is_estimated else ""
    reason = f": {', '.join(fit.reasons)}" if fit.reasons else ""
    mark = ", installed" if candidate.installed else ""
    return (
        candidate.name,
        candidate.quantization,
        guess + size(candidate.download),
        guess + size(fit.needs.total),
        speed(fit),
        f"{fit.verdict}{reason}{mark}",
    )


def _print_parts(ranked: list[Fit]) -> None:
    """What the memory is for."""
    from localchat.registry.fitting.ranking import size

    output.line()
    for fit in ranked:
        needs = fit.needs
        output.line(
            f"{fit.candidate.name}: weights {size(needs.weights)}, KV cache {size(needs.kv_cache)}"
            f" for {fit.context:,} tokens, computing {size(needs.compute)}"
        )
