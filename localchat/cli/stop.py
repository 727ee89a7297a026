"""`localchat stop`: ends engines."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.client.engines import running
from localchat.errors import ModelNotFound


@click.command("stop")
@click.argument("model", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every engine.")
@click.pass_context
def command(ctx: click.Context, model: str | None, everything: bool) -> None:
    """Stop the engine of MODEL. Its memory is free at once; its requests end."""
    if bool(model) == everything:
        raise click.UsageError("Name a model, or give --all.", ctx)
    engines = running(paths.find())
    if model:
        engines = [engine for engine in engines if engine.serves(model)]
        if not engines:
            raise ModelNotFound(f"No engine is running for {model!r}.", "localchat ps")
    for engine in engines:
        engine.stop()
        output.note(f"Stopped {engine.status['model']} (process {engine.status['pid']}).")
    if not engines:
        output.note("No engine is running.")
