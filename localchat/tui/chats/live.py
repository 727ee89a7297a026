"""A reply as it comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from localchat.events import Event, PrefillProgress, ReasoningDelta, TextDelta

Phase = Literal["idle", "loading", "prefill", "generating", "stopping"]
"""What a chat is doing. stopping: the user has asked for the end, which is not there yet."""

_WINDOW = 3.0  # seconds that the rate is an average of


class Live:
    """Written by the thread that follows the reply, read by the screen; the texts only grow."""

    def __init__(
        self,
        reply: int,
        content: str = "",
        reasoning: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`content` and `reasoning` are what there is of a reply that goes on."""
        self.reply = reply
        """The id of its message."""
        self.content = content
        self.reasoning = reasoning
        self.prefill: tuple[int, int] | None = None
        """(Done, total) tokens of the prompt, while it is read."""
        self.prompt_tokens = 0
        """Of the whole prompt; 0 until that is known."""
        self.tokens = 0
        """Completion tokens so far."""
        self._clock = clock
        self._prefill_began: tuple[float, int] | None = None
        self._counts: deque[tuple[float, int]] = deque()

    def take(self, event: Event) -> None:
        """Adds what an event of the reply brings."""
        match event:
            case PrefillProgress(done=done, total=total):
                if self.prefill is None or done < self.prefill[0]:  # also anew, or of a summary
                    self._prefill_began = (self._clock(), done)
                self.prefill, self.prompt_tokens = (done, total), total
            case TextDelta(text=text):
                self.content += text
                self._count(event.tokens)
            case ReasoningDelta(text=text):
                self.reasoning += text
                self._count(event.tokens)

    @property
    def tokens_per_second(self) -> float | None:
        """Of decoding, over the last seconds; None as long as it can't be told."""
        if not self._counts:
            return None
        (start, before), (end, after) = self._counts[0], self._counts[-1]
        return (after - before) / (end - start) if end > start else None

    @property
    def time_left(self) -> float | None:
        """Seconds until the prompt is read; None as long as it can't be told."""
        if self.prefill is None or self._prefill_began is None:
            return None
        began, first = self._prefill_began
        done, total = self.prefill
        if done <= first:
            return None
        return (self._clock() - began) / (done - first) * (total - done)

    def _count(self, tokens: int) -> None:
        now = self._clock()
        self.prefill = None
        self.tokens += tokens
        self._counts.append((now, self.tokens))
        while now - self._counts[0][0] > _WINDOW:
            self._counts.popleft()
