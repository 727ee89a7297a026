"""`localchat ps`: the engines that run."""

from __future__ import annotations

import click

from localchat import paths
from localchat.cli import output
from localchat.client.engines import EngineStatus, running


@click.command("ps")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def command(as_json: bool) -> None:
    """List the engines that run: what they do, what they hold, when they leave."""
    engines = [engine.status for engine in running(paths.find())]
    if as_json:
        output.json_line(engines)
        return
    if not engines:
        output.note("No engine is running.")
        return
    width = max(len("MODEL"), *(len(str(engine["model"])) for engine in engines))
    output.line(f"{'MODEL':{width}}      PID  STATE    CONTEXT  MEMORY  REQUESTS  LEAVES")
    for engine in engines:
        output.line(
            f"{engine['model']:{width}}  {engine['pid']:7}  {engine['state']:7}"
            f"  {engine['context']:7}  {engine['peak_memory'] / 2**20:4.0f}MB"
            f"  {engine['requests']:8}  {_leaves(engine)}"
        )


def _leaves(engine: EngineStatus) -> str:
    expires = engine["expires"]
    if expires is None:
        return "in use" if engine["clients"] else "never"
    return f"in {expires / 60:.0f} min" if expires >= 90 else f"in {expires:.0f} s"
