from __future__ import annotations

import json
import math

from localchat.session.options import Options, from_json, to_json
from localchat.types import (
    SamplingParams,
)


class TestOptions:
    def test_they_come_back_as_they_were_written(self) -> None:
        biases = ((7, 1.5), ("x", -math.inf))
        params = SamplingParams(temperature=0.5, stop=("a", "b"), logit_bias=biases, seed=3)
        options = Options(params, "off", 50, "summarise")
        written = json.dumps(to_json(options), allow_nan=False)
        assert json.loads(written) == to_json(options)
        assert from_json(json.loads(written)) == options

    def test_how_a_reply_was_reported_is_not_how_it_was_made(self) -> None:
        written = to_json(Options(SamplingParams(n=3, logprobs=2)))
        assert from_json(written) == Options()

    def test_names_of_other_versions_are_left_out(self) -> None:
        assert from_json({"mirostat": 2, "temperature": 0.1}).params.temperature == 0.1
