"""Takes a reasoning model's completion apart: what it thinks, and what it answers.

Only spans in front of the answer count: a marker that the answer itself spells, say in a code
block, is text.
"""

from __future__ import annotations

from typing import Literal

from localchat.engine.markers import Markers

Kind = Literal["reasoning", "answer"]
_Place = Literal["front", "opened", "reasoning", "answer"]

_NEWLINES = "\r\n"


class ReasoningParser:
    """Splits the text of one completion, as it comes, by the markers of its model.

    The markers and the newlines around them are left out; any split of a completion into pieces
    gives the same two texts. Spans that follow each other are joined by an empty line. Without
    `markers` all is answer. `inside`: the completion begins in a span that the prompt has opened.
    `begun`: it goes on with a thought (`inside`) or an answer that the prompt has begun.
    """

    def __init__(
        self, markers: Markers | None, *, inside: bool = False, begun: bool = False
    ) -> None:
        self._markers = markers or Markers("", "")
        self._place: _Place = "answer"
        if markers is not None and begun:
            self._place = "reasoning" if inside else "answer"
        elif markers is not None:
            self._place = "opened" if inside else "front"
        self._held = ""
        self._pieces: list[tuple[Kind, str]] = []
        self._after_marker = False
        self._gap = ""  # goes in front of the next thought
        # While the answer may end with it.
        self._answer_end = self._markers.answer_end if begun and not inside else ""

    @property
    def is_reasoning(self) -> bool:
        """Whether a thinking span is open where the completion now ends."""
        return self._place in ("opened", "reasoning")

    def push(self, text: str) -> list[tuple[Kind, str]]:
        """The texts that are certain once `text` has come: never empty, kinds alternate."""
        self._held += text
        while self._read():
            pass
        return self._taken()

    def flush(self) -> list[tuple[Kind, str]]:
        """The rest, when the completion is over; a span that was never closed is reasoning."""
        text, self._held = self._held, ""
        if self._place == "opened" or self._after_marker:
            text = text.lstrip(_NEWLINES)
        if self.is_reasoning:
            self._put("reasoning", text.rstrip(_NEWLINES))
        elif self._answer_end and text.rstrip().endswith(self._answer_end):
            self._put("answer", text.rstrip().removesuffix(self._answer_end).rstrip(_NEWLINES))
        else:
            self._put("answer", text)
        return self._taken()

    def _read(self) -> bool:
        """Reads what is held in one place; whether that led to another place."""
        match self._place:
            case "front" | "opened":
                return self._read_front()
            case "reasoning":
                return self._read_reasoning()
            case "answer":
                return self._read_answer()

    def _read_front(self) -> bool:
        """Nothing but white space has come yet: a marker, or the text begins."""
        markers = self._markers
        expected = [markers.start, markers.also_start, markers.end]
        if self._place == "front":
            expected += [markers.between, markers.answer_start]
        expected = [marker for marker in expected if marker]
        text = self._held.lstrip()
        for marker in expected:
            if text.startswith(marker):
                self._pass(marker, text.removeprefix(marker))
                return True
        if any(marker.startswith(text) for marker in expected):
            return False
        if self._place == "opened" or self._after_marker:
            self._held = self._held.lstrip(_NEWLINES)
        self._after_marker = False
        self._place = "reasoning" if self._place == "opened" else "answer"
        return True

    def _read_reasoning(self) -> bool:
        text, end, rest = self._held.partition(self._markers.end)
        if end:
            self._put("reasoning", text.rstrip(_NEWLINES))
            self._gap = "\n\n"
            self._pass(end, rest)
            return True
        self._put("reasoning", self._hold_back(text, self._markers.end))
        return False

    def _read_answer(self) -> bool:
        text, end = self._held, self._answer_end
        if end:
            ended = text.rstrip()
            if ended.endswith(end):  # the answer is over, unless more text comes
                kept = ended.removesuffix(end).rstrip(_NEWLINES)
                self._put("answer", kept)
                self._held = text[len(kept) :]
            else:
                self._put("answer", self._hold_back(text, end))
        else:
            self._put("answer", text)
            self._held = ""
        return False

    def _pass(self, marker: str, rest: str) -> None:
        """Goes on behind a marker."""
        markers = self._markers
        self._held = rest
        self._after_marker = True
        self._place = "opened" if marker in (markers.start, markers.also_start) else "front"
        if marker == (markers.answer_start or markers.end):
            self._answer_end = markers.answer_end

    def _put(self, kind: Kind, text: str) -> None:
        if not text:
            return
        if kind == "reasoning":
            text, self._gap = self._gap + text, ""
        if self._pieces and self._pieces[-1][0] == kind:
            text = self._pieces.pop()[1] + text
        self._pieces.append((kind, text))

    def _taken(self) -> list[tuple[Kind, str]]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _hold_back(self, text: str, marker: str) -> str:
        """What of `text` is certain; holds back the newlines and the beginning of a marker at its
        end."""
        certain = text[: len(text) - overlap(text, marker)].rstrip(_NEWLINES)
        self._held = text[len(certain) :]
        return certain


def overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that begins `marker` and is not all of it."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
