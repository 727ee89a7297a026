"""`localchat ask`, the default command: one prompt, one answer."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from localchat import config, paths
from localchat.cli import hint, output
from localchat.cli.answer import Answer, receive, receive_last
from localchat.cli.engine import connect, engine_options
from localchat.cli.options import preset_options, prompt_options, sampling_options
from localchat.cli.prompt_text import compose, request
from localchat.events import Finished, Rendered
from localchat.presets.precedence import decide
from localchat.types import GenerationRequest, ModelRef


@click.command("ask")
@prompt_options
@preset_options
@engine_options
@sampling_options
@click.option(
    "--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated."
)
@click.option("-n", "n", type=click.IntRange(1, 64), default=1, help="Give so many answers.")
@click.option(
    "--logprobs",
    type=click.IntRange(0, 100),
    metavar="N",
    help="With --json: the log-probability of each token and of the N likeliest.",
)
@click.option(
    "--reasoning",
    type=click.Choice(["auto", "on", "off"]),
    help="Whether a reasoning model thinks first; auto: as its template has it.",
)
@click.option(
    "--reasoning-budget",
    type=click.IntRange(0),
    metavar="N",
    help="Let the model think for N tokens at most, then answer.",
)
@click.option("--hide-reasoning", is_flag=True, help="Don't show on stderr what the model thinks.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: text, usage, timings."
)
@click.option("-u", "--usage", "show_usage", is_flag=True, help="Print token counts to stderr.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@click.option("--raw", is_flag=True, help="Send the prompt without the model's chat template.")
@click.option("--show-prompt", is_flag=True, help="Print the exact prompt; generate nothing.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prompt: tuple[str, ...],
    system: str | None,
    preset: str | None,
    parameters: dict[str, str],
    files: tuple[Path, ...],
    model: str | None,
    threads: int | None,
    draft: str | None,
    offline: bool,
    stop: tuple[str, ...],
    reasoning: Any,
    reasoning_budget: int | None,
    hide_reasoning: bool,
    as_json: bool,
    show_usage: bool,
    no_stream: bool,
    raw: bool,
    show_prompt: bool,
    **sampling: Any,
) -> None:
    """Answer a PROMPT. This is what localchat does without a command.

    Text piped in is added before the prompt, between fences; alone, it is the prompt.
    """
    if sampling["logprobs"] is not None and not as_json:
        raise click.UsageError("--logprobs needs --json.", ctx)
    flags = {"preset": preset, "system": system, "model": model, "reasoning": reasoning}
    flags |= {**sampling, "stop": stop or None}
    places = paths.find()
    decided = decide(flags, parameters, config.load(places), places)
    text = compose(" ".join(prompt), files)
    if not text:
        raise click.UsageError("There is no prompt.", ctx)
    asked = request(decided.system, text, raw=raw)
    with connect(decided.model, threads, draft, offline=offline) as connection:
        client, ref = connection.client, connection.model
        if not raw and not client.info.has_chat_template:
            output.note(f"Note: {ref.name} has no chat template; it continues the text as it is.")
        asked = replace(
            asked,
            params=decided.params(ref),
            render_only=show_prompt,
            reasoning=decided.reasoning,
            reasoning_budget=reasoning_budget,
        )
        client.submit(asked)
        if show_prompt:
            _print_prompt(receive_last(client, connection.status))
            return
        live = not (as_json or no_stream or asked.params.n > 1)
        answer = receive(
            client,
            connection.status,
            live=live,
            show_reasoning=not (as_json or hide_reasoning) and asked.params.n == 1,
        )
    if as_json:
        output.json_line(_as_json(ref, answer, asked))
    else:
        _print(answer, live=live)
    if asked.params.max_tokens is None:
        _explain_length(answer.finished)
    elif asked.params.json_schema or asked.params.grammar:
        _explain_incomplete(answer.finished)
    if show_usage:
        output.note(_usage_line(answer.finished))
    if live:
        hint.after(ref, connection.settings)


def _print(answer: Answer, *, live: bool) -> None:
    """The answers; what was not shown as it came, with an empty line between two."""
    for number, completion in enumerate(answer.completions):
        if number:
            output.line()
        if not live:
            output.write(completion.text)
        if not completion.text.endswith("\n"):
            output.line()


def _explain_length(finished: Finished) -> None:
    if _has_cut(finished):
        output.note("Note: the reply ends here because the context is full.")


def _explain_incomplete(finished: Finished) -> None:
    if _has_cut(finished):
        output.note("Note: --max-tokens ended the reply before it was complete.")


def _has_cut(finished: Finished) -> bool:
    """Whether a completion, the only one or one of several, ended before the model ended it."""
    return "length" in (finished.finish_reason, *(end.finish_reason for end in finished.choices))


def _print_prompt(event: object) -> None:
    assert isinstance(event, Rendered)
    output.write(event.prompt)
    output.finish()
    if not event.prompt.endswith("\n"):
        output.line()
    output.note(f"{event.prompt_tokens:,} tokens")


def _as_json(model: ModelRef, answer: Answer, request: GenerationRequest) -> dict[str, Any]:
    finished = answer.finished
    first = answer.completions[0]
    found: dict[str, Any] = {
        "text": first.text,
        "model": model.name,
        "finish_reason": finished.finish_reason,
        "seed": finished.seed,
    }
    if first.reasoning:
        found["reasoning"] = first.reasoning
    if request.params.logprobs is not None:
        found["logprobs"] = first.logprobs
    if request.params.n > 1:
        found["choices"] = [
            {
                "text": completion.text,
                "finish_reason": choice.finish_reason,
                "seed": choice.seed,
                **({"reasoning": completion.reasoning} if completion.reasoning else {}),
                **({"logprobs": completion.logprobs} if completion.logprobs else {}),
            }
            for completion, choice in zip(answer.completions, finished.choices, strict=True)
        ]
    return found | {"usage": asdict(finished.usage), "timings": asdict(finished.timings)}


def _usage_line(finished: Finished) -> str:
    usage, timings = finished.usage, finished.timings
    rate = (usage.completion_tokens - 1) / timings.decode if timings.decode else 0.0
    return (
        f"prompt {usage.prompt_tokens:,} tokens ({usage.cached_tokens:,} cached)"
        f", completion {usage.completion_tokens:,} tokens"
        f", first token after {timings.queue + timings.prefill:.2f} s"
        f", {rate:.1f} tokens/s, finish reason {finished.finish_reason}"
    )
