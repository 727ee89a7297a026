"""The words that settings and requests choose from: imported before anything is shown."""

from __future__ import annotations

from typing import Literal

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled"]
Priority = Literal["interactive", "batch"]
ReasoningMode = Literal["auto", "on", "off"]
OverflowPolicy = Literal["refuse", "drop", "summarise"]
KVType = Literal["f16", "q8_0", "q4_0"]
