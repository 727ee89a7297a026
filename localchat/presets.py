"""Named sampling presets: a whole character of answers in one word."""

from __future__ import annotations

from typing import Any, Literal

Preset = Literal["greedy", "precise", "balanced", "creative"]

PRESETS: dict[Preset, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "precise": {"temperature": 0.2, "top_k": 40, "top_p": 0.9, "min_p": 0.1},
    "balanced": {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    "creative": {"temperature": 1.1, "top_k": 0, "top_p": 1.0, "min_p": 0.05},
}
"""Name: {field of SamplingParams: value}.

Greedy always takes the likeliest token, for answers that never vary. Precise strays little from it:
facts, code, extraction. Balanced is for conversation. Creative draws from all tokens that are not
far behind the likeliest one, which min_p keeps sensible at a temperature above 1.
Penalties are no part of a preset: which one a model needs is the model's own matter.
"""
