"""The last words about a batch."""

from __future__ import annotations

import time

from localchat.batch.run_of_rows import RunOfRows, Tally
from localchat.cli import output
from localchat.cli.batch.progress import duration, total
from localchat.errors import RowsFailed


def finished(tally: Tally, target: str, errors: str) -> None:
    """`errors`: the file with the rows that failed. Raises RowsFailed if there are any."""
    failed = tally.failed + tally.known_failed
    output.note(f"{target}: {tally.done:,} rows{_before(tally)}{_now(tally)}.")
    if tally.cut:
        were = "answer was" if tally.cut == 1 else "answers were"
        output.note(
            f"Note: {tally.cut:,} {were} cut off, by --max-tokens or the end of the context."
        )
    if failed:
        raise RowsFailed(
            f"{failed:,} of {tally.done:,} rows failed; {errors} says why.",
            "the same command with --retry-failed",
        )


def stopped(run: RunOfRows, target: str) -> None:
    of = "" if run.tally.total is None else f" of {total(run.tally)}"
    if run.kept:
        output.note(f"Stopped: {run.kept:,}{of} rows are finished, and {target} has them.")
        output.note("The same command goes on from there.")
    else:
        output.note("Stopped before a row was finished.")


def _before(tally: Tally) -> str:
    if not tally.known:
        return ""
    if not tally.finished:
        return ", all of them finished before"
    return f", {tally.known:,} of them finished before"


def _now(tally: Tally) -> str:
    """What this run has done, and how fast."""
    failed = tally.failed + tally.known_failed
    ill = f"; {failed:,} failed" if failed else ""
    if not tally.finished:
        return ill
    seconds = max(time.monotonic() - tally.started, 1e-3)
    count = f", {tally.finished:,}" if tally.known else ""
    pace = f"{tally.finished / seconds:,.1f} rows/s"
    if tally.completion_tokens:
        pace += f", {tally.completion_tokens / seconds:,.0f} tokens/s"
    return f"{count} in {duration(seconds)} ({pace}){ill}"
