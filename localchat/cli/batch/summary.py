"""The last words about a batch."""

from __future__ import annotations

import time

from localchat.batch.run_of_rows import Tally
from localchat.cli import output
from localchat.cli.batch.progress import duration, total
from localchat.errors import RowsFailed


def finished(tally: Tally, source: str, target: str) -> None:
    """Raises RowsFailed if not all rows have an answer."""
    seconds = max(time.monotonic() - tally.started, 1e-3)
    failed = tally.failed + tally.known_failed
    before = f", {tally.known:,} of them finished before" if tally.known else ""
    output.note(
        f"{target}: {tally.done:,} rows{before}; {tally.finished:,} in {duration(seconds)}"
        f" ({tally.finished / seconds:,.1f} rows/s,"
        f" {tally.completion_tokens / seconds:,.0f} tokens/s), {failed:,} failed."
    )
    if tally.cut:
        output.note(
            f"Note: {tally.cut:,} answers were cut off, by --max-tokens or the end of the context."
        )
    if failed:
        raise RowsFailed(
            f"{failed:,} of {tally.done:,} rows failed; the reasons are in their place.",
            f"localchat batch {source} -o {target} --retry-failed",
        )


def stopped(tally: Tally, target: str) -> None:
    output.note(
        f"Stopped: {tally.done:,} of {total(tally)} rows are finished, and {target} has them."
    )
    output.note("The same command goes on from there.")
