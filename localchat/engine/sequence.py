"""One request while the engine works on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.types import GenerationRequest, Timings, Usage


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens and counters; whatever follows from them is a property.

    Times are seconds of `time.monotonic`.
    """

    request: GenerationRequest
    tokens: list[int]
    """The prompt, then the completion as it grows."""
    seed: int
    arrived: float
    num_prompt_tokens: int = field(init=False)
    num_cached_tokens: int = 0
    """Prompt tokens found in the KV cache when the sequence first ran."""
    num_computed_tokens: int = 0
    """Tokens whose keys and values are in the KV cache."""
    slot: int | None = None
    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.tokens)

    @property
    def num_remaining_tokens(self) -> int:
        """Tokens still to compute before the next one can be sampled; 1 while decoding."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def num_completion_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def is_decoding(self) -> bool:
        return self.num_remaining_tokens == 1 and self.num_completion_tokens > 0

    @property
    def usage(self) -> Usage:
        return Usage(self.num_prompt_tokens, self.num_cached_tokens, self.num_completion_tokens)

    @property
    def timings(self) -> Timings:
        queue = self.started - self.arrived if self.started else 0.0
        prefill = self.first_token - self.started if self.first_token else 0.0
        return Timings(queue, prefill, max(0.0, self.last_token - self.first_token))
