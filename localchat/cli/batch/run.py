"""`localchat batch run`, or without its name: a file of prompts, answered row by row."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import click

from localchat import answer_form, config, paths
from localchat.answer_form import AnswerForm
from localchat.batch import asked
from localchat.batch.intake import sample_of
from localchat.batch.readers.source import FORMATS, Source
from localchat.batch.run_of_rows import Manner, RunOfRows
from localchat.cli.batch import dry_run as dry
from localchat.cli.batch import progress, summary
from localchat.cli.engine import engine_options, find_model, opened_engine
from localchat.cli.options import draw_options, preset_options
from localchat.cli.prompt_text import argument_text
from localchat.cli.structure import grammar
from localchat.client.base import EngineClient
from localchat.session.loading import load_options


@click.command("run")
@click.argument("source", metavar="IN")
@click.option("-o", "--output", "target", metavar="OUT", help="Where answers go.")
@click.option("--prompt", metavar="TEXT", help="What to ask: {column} is a row's own text.")
@click.option("-s", "--system", metavar="TEXT", help="Instructions that come before each prompt.")
@preset_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Of IN, if its ending doesn't tell: openai is JSONL of OpenAI's Batch requests.",
)
@click.option(
    "--schema",
    "--json-schema",
    "form",
    type=answer_form.named,
    metavar="SCHEMA",
    help="Answer in JSON of this schema, a column a field: a file, JSON, FILE.py:Model or"
    " module:Model (pydantic).",
)
@click.option(
    "--choices", metavar="A,B,C", help="Answer with the likeliest of these; nothing is generated."
)
@click.option("-n", "--n", "n", type=click.IntRange(1, 64), help="Give so many answers a row.")
@engine_options
@draw_options
@click.option("--grammar", type=grammar, help="Answer as this grammar (GBNF) has it.")
@click.option(
    "--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated."
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
@click.option("--errors", metavar="FILE", help="Where rows go that failed; else into OUT.")
@click.option("--unordered", is_flag=True, help="Write rows as they are finished, at once.")
@click.option("--retry-failed", is_flag=True, help="Ask the rows again that have failed.")
@click.option("--restart", is_flag=True, help="Forget what there is of OUT, and begin anew.")
@click.option(
    "--concurrency",
    default="auto",
    metavar="N",
    help="Rows with the engine at once; auto: as many as keep it busy.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take the first N rows only.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="Take N rows at random, always the same."
)
@click.option(
    "--dry-run", is_flag=True, help="Show the first prompts and how much it is; answer nothing."
)
@click.option("--json-progress", is_flag=True, help="Print progress as JSON lines.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str,
    target: str | None,
    prompt: str | None,
    system: str | None,
    preset: str | None,
    parameters: dict[str, str],
    format_: Any,
    form: AnswerForm | None,
    choices: str | None,
    model: str | None,
    threads: int | None,
    draft: str | None,
    offline: bool,
    reasoning: Any,
    reasoning_budget: int | None,
    errors: str | None,
    unordered: bool,
    retry_failed: bool,
    restart: bool,
    concurrency: str,
    limit: int | None,
    sample: int | None,
    dry_run: bool,
    json_progress: bool,
    **sampling: Any,
) -> None:
    """Answer each row of IN; OUT gets the answers.

    IN is CSV or TSV with a header, JSON Lines (of messages, of objects, or OpenAI's Batch
    requests), a text of one prompt a line, or - for standard input. OUT is .csv, .tsv or .jsonl.
    Finished rows are safe at once: after a crash or Ctrl-C the same command goes on.
    """
    if limit is not None and sample is not None:
        raise click.UsageError("--limit and --sample both choose rows: give one of them.", ctx)
    if target is None and not dry_run:
        raise click.UsageError("It is not said where answers go: -o OUT.", ctx)
    places = paths.find()
    settings = config.load(places)
    settings = replace(
        settings,
        threads=threads if threads is not None else settings.threads,
        draft=draft or settings.draft,
        offline=offline or settings.offline,
    )
    flags = {"preset": preset, "system": system, "model": model, "reasoning": reasoning}
    flags |= {**sampling, "stop": sampling["stop"] or None}
    opened = Source(source, format_)
    with closing(opened), progress.shown(as_json=json_progress) as shown:
        plan = asked.plan(
            opened,
            flags,
            parameters,
            settings,
            places,
            lambda name: find_model(name, settings, places),
            prompt=argument_text(prompt, "The prompt") if prompt is not None else None,
            form=form,
            choices=tuple(text.strip() for text in choices.split(",")) if choices else (),
            reasoning_budget=reasoning_budget,
        )
        options = load_options(settings, places)

        def open_engine() -> EngineClient:
            shown.doing(f"Loading {plan.model.name} …")
            client = opened_engine(plan.model, options, settings, places, shown.doing)
            if not client.info.has_chat_template:
                shown.note(f"Note: {plan.model.name} has no chat template; it continues texts.")
            shown.begun()
            return client

        if target is None or dry_run:
            with closing(open_engine()) as client:
                shown.end()
                dry.show(opened, plan, client, places, limit)
            return
        manner = Manner(
            Path(os.path.realpath(target)),
            Path(os.path.realpath(errors)) if errors else None,
            in_order=not unordered,
            concurrency=_concurrency(ctx, concurrency) or asked.concurrency(plan, settings),
            limit=limit,
            chosen=None if sample is None else sample_of(opened, sample),
            restart=restart,
            retry_failed=retry_failed,
        )
        run = RunOfRows(plan, opened, manner, open_engine)
        _answer(run, shown, source, target, errors or target)


def _answer(run: RunOfRows, shown: progress.Shown, source: str, target: str, errors: str) -> None:
    """Raises RowsFailed if not all is fine."""
    if run.input_has_changed:
        shown.note(f"Note: {source} has changed; rows that are as before keep their answers.")
    try:
        with _signals(), run:
            for _ in run.groups():
                shown.update(run.tally)
    except (KeyboardInterrupt, _Ended) as end:
        shown.end()
        summary.stopped(run, target)
        if isinstance(end, _Ended):
            raise click.exceptions.Exit(128 + end.signal) from end
        raise
    shown.update(run.tally, is_last=True)
    shown.end()
    summary.finished(run.tally, target, errors)


class _Ended(BaseException):
    """A signal asks the process to leave."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextmanager
def _signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP end the run as Ctrl-C does: what is finished is written."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _concurrency(ctx: click.Context, given: str) -> int | None:
    """None for auto."""
    if given == "auto":
        return None
    if given.isascii() and given.isdigit() and 1 <= int(given) <= 1024:
        return int(given)
    raise click.UsageError(f"--concurrency can't be {given!r}: a number to 1024, or auto.", ctx)
