"""How much faster is a reply that repeats its prompt? See README.md beside this file."""

from __future__ import annotations

import difflib
import statistics
import sys
from pathlib import Path

from common import Report, Setup, engine, parser, prepare
from inside import InsideClient
from streams import Reply, ask

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest, SamplingParams

_TEXTS = Path(__file__).with_name("typos.txt")
_TOKENS = 480  # at most; a text has some 400
_GOAL = 1.3

# Small models do not follow an instruction like this one by itself; with an example they do.
_PROMPT = """Fix the typos in each text and change nothing else.

Text: The wether was nice, so we went too the park and had lunch under a big tree.
Fixed: The weather was nice, so we went to the park and had lunch under a big tree.

Text: {text}
Fixed:"""


def main() -> None:
    arguments = parser("tokens/s of a copied text, with guesses and without", rounds=5).parse_args()
    texts = [text.strip() for text in _TEXTS.read_text(encoding="utf-8").split("---")]
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("copy_edit", setup)
        speeds: dict[bool, list[float]] = {True: [], False: []}
        ratios = []
        for number, text in enumerate(texts, 1):
            _measure(setup, client, number, text)
