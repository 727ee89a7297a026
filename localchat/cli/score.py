"""`localchat score`: which of some texts a model finds likeliest after a prompt."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from localchat.cli import output
from localchat.cli.answer import receive_last
from localchat.cli.engine import connect, engine_options
from localchat.cli.options import prompt_options
from localchat.cli.prompt_text import compose, request
from localchat.events import Scored
from localchat.types import Score


@click.command("score")
@prompt_options
@click.option(
    "-c",
    "--choice",
    "choices",
    multiple=True,
    required=True,
    metavar="TEXT",
    help="A text to score as the answer; give it for each of them.",
)
@engine_options
@click.option("--raw", is_flag=True, help="Send the prompt without the model's chat template.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prompt: tuple[str, ...],
    choices: tuple[str, ...],
    system: str | None,
    files: tuple[Path, ...],
    model: str | None,
    threads: int | None,
    draft: str | None,
    offline: bool,
    raw: bool,
    as_json: bool,
) -> None:
    """Print the log-likelihood of each choice as the answer to PROMPT, likeliest first.

    For choosing among labels: the prompt is read once, and nothing is generated.
    """
    text = compose(" ".join(prompt), files)
    if not text:
        raise click.UsageError("There is no prompt.", ctx)
    asked = replace(request(system, text, raw=raw), continuations=choices)
    with connect(model, threads, draft, offline=offline) as connection:
        connection.client.submit(asked)
        scored = receive_last(connection.client, connection.status)
    assert isinstance(scored, Scored)
    ranked = sorted(zip(choices, scored.scores, strict=True), key=_likelihood, reverse=True)
    if as_json:
        output.json_line(
            {
                "scores": [{"choice": choice, **asdict(score)} for choice, score in ranked],
                "model": connection.model.name,
                "usage": asdict(scored.usage),
                "timings": asdict(scored.timings),
            }
        )
        return
    for choice, score in ranked:
        output.line(f"{score.logprob:10.4f}  {score.tokens:3} tokens  {choice}")


def _likelihood(scored: tuple[str, Score]) -> float:
    return scored[1].logprob
