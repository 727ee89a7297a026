"""Answers many rows; what is finished survives whatever comes.

    from localchat import batch

    for result in batch.run("in.csv", prompt="Classify: {text}", output="out.csv"):
        print(result.custom_id, result.text or result.error)

The same as `localchat batch`, from Python. The run itself is in `localchat.batch.run_of_rows`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localchat import answer_form, config, paths
from localchat.batch import asked, result
from localchat.batch.intake import sample_of
from localchat.batch.readers.given import Given
from localchat.batch.readers.source import Format, Input, Source
from localchat.batch.result import Result
from localchat.batch.run_of_rows import Manner, RunOfRows
from localchat.client.base import EngineClient
from localchat.client.launcher import open_engine
from localchat.presets.preset import check_sampling
from localchat.registry.resolve import resolve
from localchat.session.loading import load_options
from localchat.types import ReasoningMode


def run(
    rows: str | os.PathLike[str] | Iterable[str | Mapping[str, Any] | Sequence[Mapping[str, Any]]],
    *,
    output: str | os.PathLike[str] | None = None,
    prompt: str | None = None,
    system: str | None = None,
    preset: str | None = None,
    parameters: Mapping[str, str] | None = None,
    model: str | None = None,
    schema: str | Mapping[str, Any] | type | None = None,
    choices: Sequence[str] = (),
    n: int = 1,
    format: Format | None = None,  # noqa: A002 - as the command calls it
    errors: str | os.PathLike[str] | None = None,
    in_order: bool = True,
    limit: int | None = None,
    sample: int | None = None,
    concurrency: int | None = None,
    restart: bool = False,
    retry_failed: bool = False,
    reasoning: ReasoningMode | None = None,
    reasoning_budget: int | None = None,
    **sampling: Any,
) -> Generator[Result, None, None]:
    """Yields a result for each row, as it is finished; a row that fails is a result with an error.

    `rows`: a file as the command takes it, or texts, mappings or lists of messages. `prompt`: a
    template with `{column}` for what a row has there. `output`: where answers are kept. Then the
    same call goes on where it was stopped, and gives the rows that were finished before as well;
    each is on the disk before it is given out. Without it, nothing is kept. `schema`: a JSON
    schema, as text or dict, or a pydantic model, of which results are made then. `choices`: answer
    with the likeliest of these texts. `sampling`: temperature, max_tokens and so on, as in
    presets. All else is as in `localchat batch run --help`.

    Raises the errors of `localchat.errors` where the run itself fails, all on iteration. Leaving
    the loop stops what is with the engine, and writes the output as far as it goes.
    """
    places = paths.find()
    settings = config.load(places)
    form = None if schema is None else answer_form.form(schema)
    flags: dict[str, Any] = {"preset": preset, "system": system, "model": model}
    flags |= {"reasoning": reasoning, "n": None if n == 1 else n, **check_sampling(sampling)}
    with contextlib.ExitStack() as resources:
        source = _input(rows, format)
        resources.callback(source.close)
        plan = asked.plan(
            source,
            flags,
            parameters or {},
            settings,
            places,
            lambda name: resolve(name, places),
            prompt=prompt,
            form=form,
            choices=tuple(choices),
            reasoning_budget=reasoning_budget,
        )
        if output is None:
            folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="localchat-"))
            output = Path(folder, "output.jsonl")
        manner = Manner(
            Path(os.path.realpath(output)),
            None if errors is None else Path(os.path.realpath(errors)),
            in_order=in_order,
            concurrency=concurrency or asked.concurrency(plan, settings),
            limit=limit,
            chosen=None if sample is None else sample_of(source, sample),
            restart=restart,
            retry_failed=retry_failed,
        )
        options = load_options(settings, places)

        def engine() -> EngineClient:
            return open_engine(plan.model, options, settings.keep_alive, places)

        with RunOfRows(plan, source, manner, engine) as started:
            for group in started.groups():
                for entry in map(started.entry, group):
                    yield result.of(entry, form)


def _input(rows: Any, format_: Format | None) -> Input:
    if isinstance(rows, str | os.PathLike):
        return Source(os.fspath(rows), format_)
    return Given(rows)
