"""What a session asks with, and how that is written down beside a reply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from localchat.types import OverflowPolicy, ReasoningMode, SamplingParams

_REPORTED = {"logprobs", "n"}  # how a reply was shown, not how it was made


class Options(NamedTuple):
    """All of a request but its messages; see `localchat.types.GenerationRequest`."""

    params: SamplingParams = SamplingParams()
    reasoning: ReasoningMode = "auto"
    reasoning_budget: int | None = None
    overflow: OverflowPolicy = "refuse"
    system: str | None = None
    """Instructions in the place of those that the conversation began with; empty: none. None: its
    own."""


def to_json(options: Options) -> dict[str, Any]:
    """As JSON values, for `localchat.store.records.Provenance`."""
    values = options._asdict()
    params = asdict(values.pop("params"))
    params["stop"] = list(params["stop"])
    # A forbidden token's bias is -inf, for which JSON has no number.
    params["logit_bias"] = [
        [token, bias if math.isfinite(bias) else str(bias)] for token, bias in params["logit_bias"]
    ]
    return {key: value for key, value in params.items() if key not in _REPORTED} | values


def system_of(values: Mapping[str, Any]) -> str | None:
    """The `system` of what is written beside a reply, or in a conversation's settings."""
    system = values.get("system")
    return system if isinstance(system, str) else None


def from_json(values: Mapping[str, Any]) -> Options:
    """What `to_json` wrote; names of other versions are left out.

    Raises TypeError, ValueError for what it did not write.
    """
    known = {one.name for one in fields(SamplingParams)} - _REPORTED
    params = {key: value for key, value in values.items() if key in known}
    if "stop" in params:
        params["stop"] = tuple(params["stop"])
    if "logit_bias" in params:
        params["logit_bias"] = tuple((token, float(bias)) for token, bias in params["logit_bias"])
    own = {*Options._fields} - {"params"}
    return Options(SamplingParams(**params), **{k: v for k, v in values.items() if k in own})
