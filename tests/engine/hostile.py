"""Asks for the constraint of what stands in a JSON file, as an engine process would; prints how it
went. Its own process: what crashes here is a failed test, not the end of them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from localchat.engine.grammar import constraint
from localchat.errors import EngineFailed, InvalidGrammar
from localchat.types import SamplingParams
from tests.engine.walks import walk

for kind, text in json.loads(Path(sys.argv[1]).read_text()):
    started = time.process_time()
    try:
        grammar = constraint(SamplingParams(**{kind: text}))
        assert grammar is not None
        taken = time.process_time() - started
        try:
            walk(grammar, seed=1, longest=200)
            outcome = "fine"
        except EngineFailed as error:
            outcome = f"given up: {error}"
    except InvalidGrammar as error:
        taken = time.process_time() - started
        outcome = f"refused: {error}"
    print(json.dumps([outcome, taken]), flush=True)
