"""Rows for `localchat batch` and for its rivals: the same messages for all of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import Setup
from texts import fixed_length, passages

from localchat.client.base import EngineClient

SHARED, OWN, PLAIN, GENERATED = 360, 25, 64, 32
LABELS = ("positive", "negative", "neutral", "mixed")
_ASKED = f"What is said of the place? Answer with one of {', '.join(LABELS)}."

Rows = list[list[dict[str, str]]]
"""The messages of each row."""


def with_a_shared_beginning(client: EngineClient, count: int) -> Iterator[Rows]:
    """Instructions of `SHARED` tokens for all of a round, `OWN` tokens for each row."""
    shared, own = passages(client, SHARED, seed=1), passages(client, OWN, seed=2)
    for instructions in shared:
        yield [
            [_says("system", instructions), _says("user", t)] for t in itertools.islice(own, count)
        ]


def with_nothing_shared(client: EngineClient, count: int) -> Iterator[Rows]:
    """`PLAIN` tokens of its own for each row."""
    own = passages(client, PLAIN, seed=3)
    while True:
        yield [[_says("user", text)] for text in itertools.islice(own, count)]


def to_label(client: EngineClient, count: int) -> Iterator[Rows]:
    """Instructions to name one of `LABELS`, and `OWN` tokens for each row."""
    own = passages(client, OWN, seed=4)
    while True:
        yield [
            [_says("system", _ASKED), _says("user", text)] for text in itertools.islice(own, count)
        ]


def write(rows: Rows, path: Path) -> None:
    """As a file of OpenAI's Batch requests."""
    with path.open("w", encoding="utf-8") as file:
        for number, messages in enumerate(rows):
            request = {
                "custom_id": f"row-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"messages": messages},
            }
            file.write(json.dumps(request) + "\n")


def flags(setup: Setup) -> list[str]:
    """Of the command: greedy, exactly `GENERATED` tokens."""
    biases = [("--logit-bias", f"{token}=-inf") for token in forbidden(setup)]
    return ["--temp", "0", "--max-tokens", str(GENERATED), *itertools.chain(*biases)]


def forbidden(setup: Setup) -> list[int]:
    """The tokens that would end a reply."""
    return [int(token) for token, _ in fixed_length(setup, GENERATED).logit_bias]


def answered(path: Path) -> list[dict[str, Any]]:
    """The bodies of an output; fails if a row is missing or has none."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    bad = [line["error"] for line in lines if line["error"]]
    assert not bad, bad[0]
    return [line["response"]["body"] for line in lines]


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
