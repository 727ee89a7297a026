"""One request with its sequences: several completions, or several texts to score."""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.engine.prompt import Prompt
from localchat.engine.sequence import Sequence
from localchat.events import Event, Finished, Scored
from localchat.types import Choice, FinishReason, GenerationRequest, Score, Timings, Usage


@dataclass(slots=True)
class Group:
    """What a request has come to so far; `last_event` is due when nothing `is_open`."""

    request: GenerationRequest
    prompt: Prompt
    sequences: list[Sequence]
    grammar: str | None = None
    _choices: dict[int, Choice] = field(default_factory=dict)
    _logprobs: dict[int, list[float]] = field(default_factory=dict)

    @property
    def open_sequences(self) -> list[Sequence]:
        return [sequence for sequence in self.sequences if sequence.choice not in self._choices]

    def end(self, sequence: Sequence, reason: FinishReason, num_tokens: int) -> None:
        self._choices[sequence.choice] = Choice(reason, num_tokens, sequence.seed)

    def add_scores(self, sequence: Sequence, logprobs: list[float]) -> None:
        """Those of the targets up to the last computed token; again, if it was computed again.

        Those of its alternatives come behind that of its first target.
        """
        known = self._logprobs.setdefault(sequence.choice, [])
        num_scored = sequence.num_computed_tokens - sequence.num_reusable_tokens
        num_scored += len(sequence.alternatives)
        known[max(0, num_scored - len(logprobs)) :] = logprobs

    def last_event(self) -> Event:
        """Finished or Scored, once all sequences have ended."""
        first = self._choices[self.sequences[0].choice] if self.sequences else Choice("stop", 0, 0)
        if self.request.continuations and first.finish_reason != "cancelled":
            return Scored(self.request.id, self._scores(), self._usage(), self._timings())
        choices = tuple(self._choices[choice] for choice in sorted(self._choices))
        return Finished(
            self.request.id,
            first.finish_reason,
            self._usage(),
            self._timings(),
            first.seed,
            choices if len(choices) > 1 else (),
        )

    def _scores(self) -> tuple[Score, ...]:
        known = dict(self._logprobs)
        if self.sequences:
            first = self.sequences[0]
            own, *rest = known[first.choice]
            known[first.choice] = [own, *rest[len(first.alternatives) :]]
            for (choice, _), logprob in zip(first.alternatives, rest, strict=False):
                known[choice] = [logprob, *known.get(choice, [])]
        found = (known.get(choice, []) for choice in range(len(self.request.continuations)))
        return tuple(Score(sum(logprobs), len(logprobs)) for logprobs in found)

    def _usage(self) -> Usage:
        return Usage(
            len(self.prompt.tokens),
            self.sequences[0].num_cached_tokens if self.sequences else 0,
            sum(choice.completion_tokens for choice in self._choices.values()),
        )

    def _timings(self) -> Timings:
        """Of all sequences together: until the first has its first token, and the last its last."""
        if not self.sequences:
            return Timings(0.0, 0.0, 0.0)
        started = [sequence.started for sequence in self.sequences if sequence.started]
        first = [sequence.first_token for sequence in self.sequences if sequence.first_token]
        last = max(sequence.last_token for sequence in self.sequences)
        if not started:
            return Timings(0.0, 0.0, 0.0)
        queue = min(started) - self.sequences[0].arrived
        if not first:
            return Timings(queue, 0.0, 0.0)
        return Timings(queue, min(first) - min(started), last - min(first))
