"""Short labels in the text for what is too long to show there: pasted text, and files.

A label is ordinary text; where it stands whole in the text, it is a chip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from localchat.sanitize import clean

_MOST_LINES = 10
_MOST_CHARACTERS = 1000  # of a paste that stays as it is
_MOST_SHOWN = 20_000  # characters of text at once: wrapping takes a second for a million
_MOST_PASTES = 32  # remembered, since an earlier prompt may come back

_BREAK = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def tidy(text: str) -> str:
    """Text from outside as the prompt may hold it: harmless, its lines ended by newlines."""
    return clean(_BREAK.sub("\n", text))


class Chips:
    """What the labels stand for."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        """By label, of the text that is written now."""
        self._pastes: dict[str, str] = {}
        self._number = 0
        self._pattern: re.Pattern[str] | None = None

    def fold(self, pasted: str) -> str:
        """What to put into the text for `pasted`: itself, or a label if it is long."""
        lines = pasted.count("\n") + (not pasted.endswith("\n"))
        if lines <= _MOST_LINES and len(pasted) <= _MOST_CHARACTERS:
            return pasted
        return self._label(pasted, lines)

    def _label(self, text: str, lines: int) -> str:
        for label, known in self._pastes.items():
            if known == text:
                return label
        self._number += 1
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
        label = f"[Pasted text #{self._number}: {size}]"
        self._pastes[label] = text
        if len(self._pastes) > _MOST_PASTES:
            del self._pastes[next(iter(self._pastes))]
        self._pattern = None
        return label

    def attach(self, path: Path, shown: str) -> str:
        """The label of a file; `shown` is its path as the user knows it."""
        label = f"@{shown}"
        self.files[label] = path
        self._pattern = None
        return label

    def refold(self, text: str) -> str:
        """`text` with labels where it holds what was pasted earlier, or as one if it is huge."""
        for label, pasted in self._pastes.items():
            if len(pasted) > _MOST_CHARACTERS or "\n" in pasted:
                text = text.replace(pasted, label)
        return text if len(text) <= _MOST_SHOWN else self._label(text, text.count("\n") + 1)

    def forget_files(self) -> None:
        self.files.clear()
        self._pattern = None

    def expand(self, text: str) -> str:
        """`text` with what was pasted in place of its labels; those of files stay."""
        if not self._pastes or "[Pasted text #" not in text:
            return text
        return self._matcher().sub(lambda found: self._pastes.get(found[0], found[0]), text)

    def pasted(self, label: str) -> str | None:
        """What a label stands for, if it is one of pasted text."""
        return self._pastes.get(label)

    def attached(self, text: str) -> list[Path]:
        """The files whose labels stand in `text`, each once, in the order they stand there."""
        labels = (text[start:end] for start, end in self.spans(text))
        return list(dict.fromkeys(self.files[label] for label in labels if label in self.files))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each chip."""
        if self._pastes or self.files:
            for found in self._matcher().finditer(text):
                yield found.span()

    def _matcher(self) -> re.Pattern[str]:
        if self._pattern is None:
            pastes = [re.escape(label) for label in self._pastes]
            # A longer name is not the file whose name it begins with.
            files = [
                rf"(?<!\w){re.escape(label)}(?!\w|[./-]+\w)"
                for label in sorted(self.files, key=len, reverse=True)
            ]
            self._pattern = re.compile("|".join([*pastes, *files]))
        return self._pattern
