"""`localchat batch … --dry-run`: what would be asked, how much it is, and how long it may take."""

from __future__ import annotations

from localchat import speeds
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.batch.rehearsal import ANSWER, Rehearsal, rehearse
from localchat.batch.request import Requests
from localchat.batch.run_of_rows import check_columns
from localchat.cli import output
from localchat.cli.batch.progress import duration
from localchat.client.base import EngineClient
from localchat.paths import Paths

_SHOWN = 3  # prompts
_NAMED = 5  # faults


def show(source: Input, plan: Plan, client: EngineClient, places: Paths, limit: int | None) -> None:
    """Prompts go to stdout, the rest to stderr."""
    requests = Requests(plan)
    check_columns(requests, source)
    found = rehearse(source, plan, requests, client, limit)
    for row, rendered in found.prompts[:_SHOWN]:
        output.heading(f"{row.custom_id}: {rendered.prompt_tokens:,} tokens")
        output.line(rendered.prompt)
    output.finish()
    for row, fault in found.faults[:_NAMED]:
        output.note(f"Line {row.line} can't be asked: {fault}")
    if len(found.faults) > _NAMED:
        output.note(f"{len(found.faults) - _NAMED:,} more of the first rows can't be asked.")
    output.note(_amount(found, plan))
    output.note(_time(found, plan, places))


def _amount(found: Rehearsal, plan: Plan) -> str:
    about = "" if found.is_exact else "about "
    rows = "Rows" if found.rows is None else f"{about}{found.rows:,} rows"
    total = "" if found.rows is None else f", {found.prompt_tokens * found.rows:,.0f} in all"
    prompts = f"{rows} with prompts of {found.prompt_tokens:,.0f} tokens on average{total}"
    if plan.choices:
        return f"{prompts}; nothing is generated."
    if plan.options.params.max_tokens is None:
        return f"{prompts}; answers have no limit: --max-tokens gives them one."
    return f"{prompts}; answers of {found.completion_tokens:,} tokens at most."


def _time(found: Rehearsal, plan: Plan, places: Paths) -> str:
    speed = speeds.find(places.speeds, speeds.key(plan.model.sha256, plan.model.path))
    seconds = None if speed is None else found.seconds(speed)
    if seconds is None or speed is None:
        return "How long it takes can be told after the first rows: this model has not run enough."
    guess = "" if plan.options.params.max_tokens or plan.choices else f" with {ANSWER} tokens each"
    return (
        f"At most {duration(seconds)}{guess}, at {speed.prefill:,.0f} tokens/s read and"
        f" {speed.decode:,.0f} tokens/s written; rows share work, so it is mostly far less."
    )
