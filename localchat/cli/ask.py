"""`localchat ask`, the default command: one prompt, one answer."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from localchat import config, paths
from localchat.cli import output
from localchat.cli.options import (
    model_option,
    offline_option,
    sampling_options,
    sampling_params,
)
from localchat.cli.prompt_text import argument_text, compose
from localchat.client.base import EngineClient
from localchat.client.launcher import open_engine
from localchat.config import Settings
from localchat.errors import from_kind
from localchat.events import Failed, Finished, PrefillProgress, Rendered, TextDelta
from localchat.paths import Paths
from localchat.types import GenerationRequest, LoadOptions, Message, ModelRef

_LONG_PROMPT = 512  # tokens; from here on prefill takes long enough to be shown


@click.command("ask")
@click.argument("prompt", nargs=-1)
@model_option
@click.option("-s", "--system", metavar="TEXT", help="Instructions that come before the prompt.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A text file to put before the prompt; may be repeated.",
)
@sampling_options
@click.option(
    "--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: text, usage, timings."
)
@click.option("-u", "--usage", "show_usage", is_flag=True, help="Print token counts to stderr.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is complete.")
@click.option("--raw", is_flag=True, help="Send the prompt without the model's chat template.")
@click.option("--show-prompt", is_flag=True, help="Print the exact prompt; generate nothing.")
@offline_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    files: tuple[Path, ...],
    stop: tuple[str, ...],
    as_json: bool,
    show_usage: bool,
    no_stream: bool,
    raw: bool,
    show_prompt: bool,
    offline: bool,
    **sampling: Any,
) -> None:
    """Answer a PROMPT. This is what localchat does without a command.

    Text piped in is added before the prompt, between fences; alone, it is the prompt.
    """
    text = compose(" ".join(prompt), files)
    system = system and argument_text(system, "The system prompt")
    if not text:
        raise click.UsageError("There is no prompt.", ctx)
    places = paths.find()
    settings = config.load(places)
    ref = _find_model(model or settings.model, settings, places, offline=offline)
    with (
        output.Status(f"Loading {ref.name} …") as status,
        closing(open_engine(ref, _load_options(settings), settings.keep_alive, places)) as client,
    ):
        status.clear()
        if not raw and not client.info.has_chat_template:
            output.note(f"Note: {ref.name} has no chat template; it continues the text as it is.")
        messages = _messages(system, text)
        request = GenerationRequest(
            id=os.urandom(8).hex(),
            messages=() if raw else messages,
            prompt="\n\n".join(message.content for message in messages) if raw else None,
            params=sampling_params(sampling, stop, settings, ref),
            render_only=show_prompt,
        )
        client.submit(request)
        if show_prompt:
            _print_prompt(client)
            return
        answer, finished = _receive(client, status, live=not (as_json or no_stream))
    if as_json:
        output.json_line(_as_json(ref, answer, finished))
    elif no_stream:
        output.write(answer)
    if not as_json and not answer.endswith("\n"):
        output.line()
    if finished.finish_reason == "length" and request.params.max_tokens is None:
        output.note("Note: the reply ends here because the context is full.")
    if show_usage:
        output.note(_usage_line(finished))


def _find_model(name: str, settings: Settings, places: Paths, *, offline: bool) -> ModelRef:
    """The model, installed. The default model is downloaded if it is missing; others are not."""
    from localchat.errors import ModelNotFound
    from localchat.registry.resolve import resolve

    try:
        return resolve(name, places)
    except ModelNotFound:
        if name != settings.model or Path(name).suffix == ".gguf":
            raise
        from localchat.cli.pull import pull_with_progress

        return pull_with_progress(name, places, offline=offline or settings.offline)


def _load_options(settings: Settings) -> LoadOptions:
    return LoadOptions(
        context=settings.context, threads=settings.threads, parallel=settings.parallel
    )


def _messages(system: str | None, text: str) -> tuple[Message, ...]:
    user = Message("user", text)
    return (Message("system", system), user) if system else (user,)


def _receive(client: EngineClient, status: output.Status, *, live: bool) -> tuple[str, Finished]:
    """The whole answer; shown as it comes if `live`."""
    pieces = []
    for event in client.events():
        match event:
            case TextDelta(text=text):
                status.clear()
                pieces.append(text)
                if live:
                    output.write(text)
            case PrefillProgress(done=done, total=total) if (
                total - done > 0 and total > _LONG_PROMPT
            ):
                status.show(f"Reading the prompt: {100 * done // total}% of {total:,} tokens")
            case Failed(kind=kind, message=message, hint=hint):
                raise from_kind(kind, message, hint)
            case Finished():
                return "".join(pieces), event
    raise AssertionError("a request ends with Finished or Failed")


def _print_prompt(client: EngineClient) -> None:
    for event in client.events():
        if isinstance(event, Failed):
            raise from_kind(event.kind, event.message, event.hint)
        if isinstance(event, Rendered):
            output.write(event.prompt)
            output.finish()
            if not event.prompt.endswith("\n"):
                output.line()
            output.note(f"{event.prompt_tokens:,} tokens")


def _as_json(model: ModelRef, text: str, finished: Finished) -> dict[str, Any]:
    return {
        "text": text,
        "model": model.name,
        "finish_reason": finished.finish_reason,
        "seed": finished.seed,
        "usage": asdict(finished.usage),
        "timings": asdict(finished.timings),
    }


def _usage_line(finished: Finished) -> str:
    usage, timings = finished.usage, finished.timings
    rate = (usage.completion_tokens - 1) / timings.decode if timings.decode else 0.0
    return (
        f"prompt {usage.prompt_tokens:,} tokens ({usage.cached_tokens:,} cached)"
        f", completion {usage.completion_tokens:,} tokens"
        f", first token after {timings.queue + timings.prefill:.2f} s"
        f", {rate:.1f} tokens/s, finish reason {finished.finish_reason}"
    )
