"""What one sequence's tokens come to: text, thinking, log-probabilities, and an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from localchat.engine.detokenizer import CompletionText
from localchat.engine.prompt import Prompt
from localchat.engine.reasoning import Kind
from localchat.engine.scheduled import TokenScore
from localchat.engine.sequence import Sequence
from localchat.events import Event, ReasoningDelta, TextDelta, TokenLogprobs
from localchat.types import FinishReason


class Pieces(Protocol):
    """What is needed of `localchat.llama.vocabulary.Vocabulary`."""

    def piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...


class Completion:
    """Takes the sampled tokens of a sequence one by one, until `finish_reason` is set.

    `marker_pieces` and `budget_end` are those of `PromptBuilder`; `context` is the number of tokens
    that prompt and completion may have; `grammar` constrains the answer, not the thinking that the
    prompt has begun. A thinking span that the model would begin by itself does not match it.
    """

    def __init__(
        self,
        sequence: Sequence,
        prompt: Prompt,
        vocabulary: Pieces,
        *,
        context: int,
        marker_pieces: dict[int, bytes],
        budget_end: list[int],
        grammar: str | None,
    ) -> None:
        request = sequence.request
        self.finish_reason: FinishReason | None = None
        self.num_tokens = 0
        self.answer = ""
        self._sequence = sequence
        self._vocabulary = vocabulary
        self._marker_pieces = marker_pieces if prompt.markers else {}
        self._budget_end = budget_end
        self._num_reasoning = 0
        self._num_told = 0
        self._grammar = grammar
        self._text = CompletionText(
            request.params.stop, prompt.markers, inside=prompt.inside, begun=prompt.num_said > 0
        )
        self._most = context - sequence.num_prompt_tokens
        if request.params.max_tokens is not None:
            self._most = min(self._most, request.params.max_tokens)

    @property
    def due_grammar(self) -> str | None:
        """The grammar that constrains the next token on, if it does not yet; returned once."""
        if self._text.is_reasoning:
            return None
        grammar, self._grammar = self._grammar, None
        return grammar

    @property
    def may_be_diverted(self) -> bool:
        """Whether a grammar may begin, or tokens be forced, after the next token."""
        return self._grammar is not None or self._sequence.request.reasoning_budget is not None

    def push(self, token: int, score: TokenScore | None) -> Iterator[Event]:
        """Books one token, sampled or forced; yields what it makes certain."""
        self.num_tokens += 1
        if score is not None:
            yield self._logprobs(token, score)
        if self._vocabulary.is_end(token):
            self.finish_reason = "stop"
            return
        piece = self._marker_pieces.get(token) or self._vocabulary.piece(token)
        yield from map(self._delta, self._text.push(piece))
        if self._text.is_reasoning:
            self._num_reasoning += 1
        if self._text.stopped:
            self.finish_reason = "stop"
        elif self.num_tokens >= self._most:
            self.finish_reason = "length"

    def flush(self) -> Iterator[Event]:
        """What was held back, at the end."""
        return map(self._delta, self._text.flush())

    def take_forced(self) -> list[int]:
        """Tokens that must come next: the end of a thinking span whose budget is used up."""
        budget = self._sequence.request.reasoning_budget
        if budget is None or self._num_reasoning < budget or not self._text.is_reasoning:
            return []
        return self._budget_end[: max(0, self._most - self.num_tokens)]

    def _delta(self, piece: tuple[Kind, str]) -> Event:
        kind, text = piece
        if kind == "answer":
            self.answer += text
        delta = TextDelta if kind == "answer" else ReasoningDelta
        tokens, self._num_told = self.num_tokens - self._num_told, self.num_tokens
        return delta(self._sequence.request.id, text, self._sequence.choice, tokens)

    def _logprobs(self, token: int, score: TokenScore) -> Event:
        top = tuple((self._spelling(other), logprob) for other, logprob in score.top)
        sequence = self._sequence
        return TokenLogprobs(
            sequence.request.id, self._spelling(token), score.logprob, top, sequence.choice
        )

    def _spelling(self, token: int) -> str:
        return self._vocabulary.piece(token).decode("utf-8", "replace")
