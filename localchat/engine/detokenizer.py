"""Bytes of tokens to the text of a completion, as early as it is certain."""

from __future__ import annotations

import codecs

from localchat.engine.markers import Markers
from localchat.engine.reasoning import Kind, ReasoningParser, overlap


class CompletionText:
    """What a completion says: its thinking and its answer apart, the answer up to a stop string.

    `markers` are None for a model that does not think; `inside`: the prompt ends inside a thinking
    span; `begun`: with a part of the reply. Stop strings are looked for in the answer alone.
    """

    def __init__(
        self,
        stop: tuple[str, ...] = (),
        markers: Markers | None = None,
        *,
        inside: bool = False,
        begun: bool = False,
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._parser = ReasoningParser(markers, inside=inside, begun=begun)
        self._stop = StopStrings(stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met; nothing comes after it."""
        return self._stop.stopped

    @property
    def is_reasoning(self) -> bool:
        """Whether a thinking span is open where the completion now ends."""
        return self._parser.is_reasoning

    def push(self, piece: bytes) -> list[tuple[Kind, str]]:
        """The texts that are certain once `piece` has come; often none, never empty ones."""
        return self._stopped_at(self._parser.push(self._decoder.decode(piece)))

    def flush(self) -> list[tuple[Kind, str]]:
        """The rest, when the model has ended; an incomplete character becomes U+FFFD."""
        pieces = self._parser.push(self._decoder.decode(b"", final=True)) + self._parser.flush()
        texts = self._stopped_at(pieces)
        if rest := self._stop.flush():
            texts.append(("answer", rest))
        return texts

    def _stopped_at(self, pieces: list[tuple[Kind, str]]) -> list[tuple[Kind, str]]:
        texts: list[tuple[Kind, str]] = []
        for kind, text in pieces:
            certain = self._stop.push(text) if kind == "answer" else text
            if certain:
                texts.append((kind, certain))
        return texts


class StopStrings:
    """Ends a text before the first of these strings, and holds back what may become one."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that is certain once `text` has come; often empty."""
        if self.stopped:
            return ""
        if not self._stop:
            return text
        text = self._held + text
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        held = max(overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back, when the text is over."""
        text, self._held = self._held, ""
        return text
