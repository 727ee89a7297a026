"""How long do many requests with one beginning take? See README.md beside this file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import batches
from common import Report, engine, parser, prepare
from servers import llama_server
from texts import passages

from localchat.client.base import EngineClient

_SHARED, _OWN = 360, 25
_GOAL = 1.6


def main() -> None:
    arguments = parser("64 requests that share a prefix", rounds=5).parse_args()
    with (
        prepare(arguments) as setup,
        engine(setup) as client,
        llama_server(setup, 1) as one,
        llama_server(setup, 16) as sixteen,
    ):
        report = Report("batch_shared", setup)
        servers = {"llama-server -np 1": one, "llama-server -np 16": sixteen}
        compared = batches.compare(report, setup, client, servers, _jobs(client))
        tokens = _SHARED + batches.NUM_REQUESTS * (_OWN + batches.GENERATED)
        limit = tokens / compared.prefill_speed
        report.add_value("all tokens at the speed of prefill", limit, "s")
        report.add_value("time over that limit", compared.seconds / limit, "")
        report.add_value("tokens prefilled, of those of the prompts", compared.prefilled, "")
        ratio = compared.ratio
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _jobs(client: EngineClient) -> Iterator[list[str]]:
    shared, own = passages(client, _SHARED, seed=1), passages(client, _OWN, seed=2)
    for prefix in shared:
        yield [f"{prefix}\n{text}" for text in itertools.islice(own, batches.NUM_REQUESTS)]


if __name__ == "__main__":
    main()
