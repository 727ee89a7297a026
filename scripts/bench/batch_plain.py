"""How long do many requests of their own take? See README.md beside this file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import batches
from common import Report, engine, parser, prepare
from servers import llama_server
from texts import passages

from localchat.client.base import EngineClient

_PROMPT = 64
_GOAL = 1.0


def main() -> None:
    arguments = parser("64 requests that share nothing", rounds=5).parse_args()
    with (
        prepare(arguments) as setup,
        engine(setup) as client,
        llama_server(setup, 16) as server,
    ):
        report = Report("batch_plain", setup)
        servers = {"llama-server -np 16": server}
        compared = batches.compare(report, setup, client, servers, _jobs(client))
        ratio = compared.ratio
        report.add_goal("ratio", ratio, f"at least {_GOAL}", met=ratio >= _GOAL)
        report.save()


def _jobs(client: EngineClient) -> Iterator[list[str]]:
    own = passages(client, _PROMPT, seed=3)
    while True:
        yield list(itertools.islice(own, batches.NUM_REQUESTS))


if __name__ == "__main__":
    main()
