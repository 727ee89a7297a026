"""What a batch has printed, without how fast it was."""

from __future__ import annotations

import re

import pytest

RATES = re.compile(r" in \d+ s \([\d,.]+ rows/s, [\d,]+ tokens/s\)")


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """What was printed: stdout, and stderr without how fast it was."""
    out, err = capsys.readouterr()
    return out, RATES.sub(" in RATES", err).splitlines()
