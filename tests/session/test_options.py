from __future__ import annotations

import json
import math

import pytest

from localchat.session.options import Options, from_json, system_of, to_json
from localchat.types import (
    SamplingParams,
)


class TestOptions:
    def test_they_come_back_as_they_were_written(self) -> None:
        biases = ((7, 1.5), ("x", -math.inf))
        params = SamplingParams(temperature=0.5, stop=("a", "b"), logit_bias=biases, seed=3)
        options = Options(params, "off", 50, "summarise", "Be brief.")
        written = json.dumps(to_json(options), allow_nan=False)
        assert json.loads(written) == to_json(options)
        assert from_json(json.loads(written)) == options

    def test_how_a_reply_was_reported_is_not_how_it_was_made(self) -> None:
        written = to_json(Options(SamplingParams(n=3, logprobs=2)))
        assert from_json(written) == Options()

    @pytest.mark.parametrize("system", [None, "", "Be brief."])
    def test_instructions_are_read_from_what_was_written(self, system: str | None) -> None:
        assert system_of(to_json(Options(system=system))) == system
        assert system_of({"system": 7}) is None
        assert system_of({}) is None

    def test_names_of_other_versions_are_left_out(self) -> None:
        assert from_json({"mirostat": 2, "temperature": 0.1}).params.temperature == 0.1
