"""`localchat pull`: downloads a model once, and verifies it."""

from __future__ import annotations

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import offline_option
from localchat.cli.progress import Events, shown
from localchat.errors import Interrupted, LocalchatError
from localchat.paths import Paths
from localchat.types import ModelRef


@click.command("pull")
@click.argument("name")
@offline_option
@click.option(
    "--sha256", metavar="HEX", help="With an address: the digest that the file must have."
)
@click.option(
    "--token", is_flag=True, help="Show the hub your access token, for models that need one."
)
@click.option("--json", "as_json", is_flag=True, help="Print progress and result as JSON lines.")
def command(name: str, offline: bool, sha256: str | None, token: bool, as_json: bool) -> None:
    """Download the model NAME and verify it. Nothing is done if it is there and intact.

    NAME is a model of the catalogue (qwen3-4b, qwen3-4b:q8_0), a repository of the Hugging Face
    hub (OWNER/REPO:Q4_K_M), a file there (hf:OWNER/REPO/FILE.gguf@REVISION), or the address of a
    .gguf file together with its --sha256. A download that was cut off goes on where it stopped.
    """
    from localchat.registry.pull import pull

    places = paths.find()
    offline = offline or config.load(places).offline
    if not as_json:
        with shown(f"Downloading {name}") as watcher:
            done = pull(name, places, offline=offline, watcher=watcher, token=token, sha256=sha256)
        if done.served:
            output.note(f"{done.model.name} came from {', '.join(done.served)}.")
        output.line(done.model.path)
        return
    try:
        done = pull(name, places, offline=offline, watcher=Events(), token=token, sha256=sha256)
    except LocalchatError as error:
        _print_error(error)
        raise
    except KeyboardInterrupt:
        _print_error(Interrupted("Stopped."))
        raise
    output.json_line(
        {
            "event": "done",
            "name": done.model.name,
            "path": done.model.path,
            "sha256": done.model.sha256,
            "size": done.record.size,
            "pinned": done.record.is_pinned,
            "sources": list(done.served),
        }
    )


def _print_error(error: LocalchatError) -> None:
    output.json_line(
        {
            "event": "error",
            "message": str(error),
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
    )


def pull_with_progress(name: str, places: Paths, *, offline: bool) -> ModelRef:
    """Pulls a model, showing a bar on a terminal and plain lines elsewhere, on stderr."""
    from localchat.registry.pull import pull

    with shown(f"Downloading {name}") as watcher:
        return pull(name, places, offline=offline, watcher=watcher).model
