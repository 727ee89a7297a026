"""`localchat ask`, the default command: one prompt, one answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from localchat import config, paths
from localchat.cli import hint, output
from localchat.cli.answer import Answer, receive
from localchat.cli.asking import Asking
from localchat.cli.engine import connect, engine_options
from localchat.cli.kept import History
from localchat.cli.options import (
    history_options,
    preset_options,
    prompt_options,
    sampling_options,
)
from localchat.cli.prompt_text import compose
from localchat.events import Finished
from localchat.presets.precedence import decide
from localchat.session.lasting import resumed
from localchat.session.options import Options, system_of
from localchat.session.session import Session
from localchat.types import ModelRef, SamplingParams


@click.command("ask")
@prompt_options
@preset_options
@history_options
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
    goes_on: bool,
    cid: str | None,
    log: bool | None,
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

    Text piped in is added before the prompt, between fences; alone, it is the prompt. With -c or
    --cid and no prompt at all, a reply that was cut off goes on.
    """
    if sampling["logprobs"] is not None and not as_json:
        raise click.UsageError("--logprobs needs --json.", ctx)
    places = paths.find()
    settings = config.load(places)
    keeps = settings.log if log is None else log
    flags = {"preset": preset, "system": system, "model": model, "reasoning": reasoning}
    flags |= {**sampling, "stop": stop or None}
    with History(places, keeps=keeps and not (raw or show_prompt)) as history:
        conversation = None
        if goes_on or cid is not None:
            _refuse_to_go_on_with(ctx, raw=raw, system=system, parameters=parameters)
            conversation = history.find(cid)
            settings = resumed(settings, conversation.settings)
            flags["system"] = ""  # it has begun with one, or without
        decided = decide(flags, parameters, settings, places)
        text = compose(" ".join(prompt), files)
        if not text and (conversation is None or not history.is_cut_off(conversation)):
            what = "" if conversation is None else ", and the last reply is complete"
            raise click.UsageError(f"There is no prompt{what}.", ctx)
        history.begin_opening()
        with connect(decided.model, threads, draft, offline=offline) as connection:
            client, ref = connection.client, connection.model
            if not raw and not client.info.has_chat_template:
                output.note(
                    f"Note: {ref.name} has no chat template; it continues the text as it is."
                )
            options = Options(
                decided.params(ref),
                decided.reasoning,
                reasoning_budget,
                settings.overflow if conversation else "refuse",
                system_of(conversation.settings) if conversation else None,
            )
            asking = Asking(connection, history, conversation, decided, options)
            if show_prompt:
                asking.show_prompt(text, raw=raw)
                return
            live = not (as_json or no_stream or options.params.n > 1)
            answer = receive(
                asking.begin(text, raw=raw),
                connection.status,
                live=live,
                show_reasoning=not (as_json or hide_reasoning) and options.params.n == 1,
            )
            asking.say_what_was_lost()
    if as_json:
        output.json_line(_as_json(ref, answer, options.params, asking.session))
    else:
        _print(answer, live=live)
    if options.params.max_tokens is None:
        _explain_length(answer.finished)
    elif options.params.json_schema or options.params.grammar:
        _explain_incomplete(answer.finished)
    if show_usage:
        output.note(_usage_line(answer.finished))
    if live:
        hint.after(ref, connection.settings)


def _refuse_to_go_on_with(
    ctx: click.Context, *, raw: bool, system: str | None, parameters: dict[str, str]
) -> None:
    """What makes no sense for a conversation that has begun."""
    if raw:
        raise click.UsageError("--raw sends a text alone: it can't go on with a conversation.", ctx)
    if system is not None or parameters:
        raise click.UsageError(
            "Instructions stand at the beginning of a conversation: they can't be given to one"
            " that goes on.",
            ctx,
        )


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


def _as_json(
    model: ModelRef, answer: Answer, params: SamplingParams, session: Session | None
) -> dict[str, Any]:
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
    if params.logprobs is not None:
        found["logprobs"] = first.logprobs
    if params.n > 1:
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
    found |= {"usage": asdict(finished.usage), "timings": asdict(finished.timings)}
    if session is not None and not session.is_private:
        found |= {"conversation": session.conversation, "message": session.replies[0]}
        for one, reply in zip(found.get("choices", ()), session.replies, strict=False):
            one["message"] = reply
    return found


def _usage_line(finished: Finished) -> str:
    usage, timings = finished.usage, finished.timings
    rate = (usage.completion_tokens - 1) / timings.decode if timings.decode else 0.0
    return (
        f"prompt {usage.prompt_tokens:,} tokens ({usage.cached_tokens:,} cached)"
        f", completion {usage.completion_tokens:,} tokens"
        f", first token after {timings.queue + timings.prefill:.2f} s"
        f", {rate:.1f} tokens/s, finish reason {finished.finish_reason}"
    )
