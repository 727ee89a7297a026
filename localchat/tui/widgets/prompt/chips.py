"""Short labels in the text for what is too long to show there: pasted text, and files.

A label is ordinary text; where it stands whole in the text, it is a chip.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from localchat.sanitize import clean

MOST_SHOWN = 20_000
"""Characters that may be in the text at once: wrapping a million takes a second."""

_MOST_LINES = 10
_MOST_CHARACTERS = 1000  # of a paste that stays as it is
_MOST_PASTES = 32  # remembered, since an earlier prompt may come back

_NAMED = re.compile(r"(?<!\S)@(\S+)")
_PUNCTUATION = ".,;:!?)]}'\""
_BREAK = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")


def tidy(text: str) -> str:
    """Text from outside as the prompt may hold it: harmless, its lines ended by newlines."""
    return clean(_BREAK.sub("\n", text))


class Chips:
    """What the labels stand for."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder that files' labels are relative to."""
        self._root = root
        self._files: dict[str, Path] = {}
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
        self._pattern = None
        return label

    def shed(self) -> None:
        """Forgets the oldest pastes. To be called when no label is in use."""
        for label in list(self._pastes)[:-_MOST_PASTES]:
            del self._pastes[label]
        self._pattern = None

    def attach(self, path: Path) -> str:
        """The label of a file."""
        label = f"@{path}"
        if label not in self._files:
            self._files[label] = self._root / path
            self._pattern = None
        return label

    def adopt(self, text: str, paths: Collection[str]) -> bool:
        """Makes chips of the names of files that were written out; whether there are any new."""
        named = (found.rstrip(_PUNCTUATION) for found in _NAMED.findall(text))
        new = [path for path in named if path in paths and f"@{path}" not in self._files]
        for path in new:
            self.attach(Path(path))
        return bool(new)

    def refold(self, text: str) -> str:
        """`text` with labels where it holds what was pasted earlier, or as one if it is huge."""
        for label, pasted in self._pastes.items():
            if len(pasted) > _MOST_CHARACTERS or "\n" in pasted:
                text = text.replace(pasted, label)
        return text if len(text) <= MOST_SHOWN else self._label(text, text.count("\n") + 1)

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
        return list(dict.fromkeys(self._files[label] for label in labels if label in self._files))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each chip."""
        if self._pastes or self._files:
            for found in self._matcher().finditer(text):
                yield found.span()

    def _matcher(self) -> re.Pattern[str]:
        if self._pattern is None:
            pastes = [re.escape(label) for label in self._pastes]
            # A longer name is not the file whose name it begins with.
            files = [
                rf"(?<!\w){re.escape(label)}(?!\w|[./-]+\w)"
                for label in sorted(self._files, key=len, reverse=True)
            ]
            self._pattern = re.compile("|".join([*pastes, *files]))
        return self._pattern
