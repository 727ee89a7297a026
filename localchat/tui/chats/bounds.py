"""What the numbers among a conversation's settings may be, as text and as values.

The bounds are those of the settings of the same names.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, fields
from typing import get_args, get_type_hints

from localchat.config import Settings
from localchat.errors import UsageError
from localchat.session.lasting import LASTING


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one number may be."""

    name: str
    least: float
    most: float
    is_open: bool
    """Whether `least` itself is too little."""
    is_whole: bool

    def __str__(self) -> str:
        """The end of a sentence about what it must be."""
        kind = "a whole number" if self.is_whole else "a number"
        if self.is_open:
            end = "" if self.most == math.inf else f" and at most {self.most:g}"
            return f"{kind} above {self.least:g}{end}"
        if self.most == math.inf:
            return f"{kind}, {self.least:g} or more"
        return f"{kind} from {self.least:g} to {self.most:g}"

    def admits(self, value: object) -> bool:
        kind = int if self.is_whole else int | float
        if not isinstance(value, kind) or isinstance(value, bool):
            return False
        return (
            abs(value) <= sys.float_info.max  # nor NaN
            and self.least <= value <= self.most
            and not (self.is_open and value == self.least)
        )

    def parse(self, text: str) -> float:
        """The number that `text` says. Raises UsageError, whose sentence says what is wanted."""
        try:
            value = int(text) if self.is_whole else float(text)
        except ValueError:
            value = math.nan
        if not self.admits(value):
            raise UsageError(f"{self.name} must be {self}.", f"/set {self.name} VALUE")
        return value


def _bounds() -> dict[str, Bounds]:
    types = get_type_hints(Settings)
    found = {}
    for setting in fields(Settings):
        if setting.name in (*LASTING, "max_tokens"):
            given = setting.metadata
            found[setting.name] = Bounds(
                setting.name,
                least=given.get("ge", given.get("gt", -math.inf)),
                most=given.get("le", math.inf),
                is_open="gt" in given,
                is_whole=int in get_args(types[setting.name]),
            )
    return {name: found[name] for name in (*LASTING, "max_tokens")}


NUMBERS = _bounds()
"""By name, in the order to show them."""
