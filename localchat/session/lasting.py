"""What of a conversation's first turn holds for its further ones, as it is kept beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from localchat.config import Settings
from localchat.presets.precedence import Decided

# What makes the character of a conversation. The rest of the sampling values (a limit, stop
# strings, a schema) shapes one answer.
LASTING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
)


def lasting(decided: Decided) -> dict[str, Any]:
    """What further turns of a new conversation are to be made with, as JSON values."""
    sampling = {name: decided.sampling[name] for name in LASTING if name in decided.sampling}
    return {"model": decided.model, "reasoning": decided.reasoning, "sampling": sampling}


def resumed(settings: Settings, stored: Mapping[str, Any]) -> Settings:
    """The settings with those of a conversation in the place of the user's own.

    One that was imported has none, and what makes no sense is left out.
    """
    changes: dict[str, Any] = {}
    if isinstance(stored.get("model"), str):
        changes["model"] = stored["model"]
    if stored.get("reasoning") in ("auto", "on", "off"):
        changes["reasoning"] = stored["reasoning"]
    if isinstance(sampling := stored.get("sampling"), Mapping):
        changes |= dict.fromkeys(LASTING) | {"preset": None}
        changes |= {
            name: sampling[name] for name in LASTING if isinstance(sampling.get(name), int | float)
        }
    return replace(settings, **changes)
