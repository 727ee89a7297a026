"""One completion, or one text to score, while the engine works on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.types import GenerationRequest


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """Tokens and counters; whatever follows from them is a property.

    Times are seconds of `time.monotonic`.
    """

    request: GenerationRequest
    """Its sampling parameters name tokens by id: texts to bias are resolved."""
    tokens: list[int]
    """The prompt, then the completion as it grows. Of a text to score: all tokens but the last,
    which nothing follows."""
    seed: int
    arrived: float
    choice: int = 0
    """Which of the request's completions or continuations this is."""
    targets: tuple[int, ...] = ()
    """The tokens whose log-likelihood is asked for: they end a text to score."""
    alternatives: tuple[tuple[int, int], ...] = ()
    """(Choice, token) of each other text's first token: what foretells the first target tells
    their log-likelihoods too."""
    checkpoints: tuple[int, ...] = ()
    """Lengths, ascending, at which the state is to be saved: where memory can't be cut, these are
    the points to which later prompts can go back."""
    num_said_tokens: int = 0
    """Tokens at the end of the prompt that begin the reply: penalties count them."""
    num_prompt_tokens: int = field(init=False)
    num_cached_tokens: int = 0
    """Prompt tokens found in the KV cache when the sequence first ran."""
    num_computed_tokens: int = 0
    """Tokens whose keys and values are in the KV cache."""
    may_guess: bool = True
    """Whether only the model decides what comes next: else guesses that it confirms, and the
    sampler remembers, might have to be taken back."""
    slot: int | None = None
    floor: int = 0
    """To fewer tokens than these its memory can't be cut back, nor can fewer be copied."""
    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.tokens)
        if self.targets:
            self.num_prompt_tokens -= len(self.targets) - 1

    @property
    def num_remaining_tokens(self) -> int:
        """Tokens still to compute before the next one can be sampled; 1 while decoding."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def num_reusable_tokens(self) -> int:
        """Tokens that may come out of a cache: those after them are needed for their logits."""
        return (self.num_prompt_tokens if self.targets else len(self.tokens)) - 1

    def targets_after(self, position: int) -> tuple[int, ...]:
        """Whose log-likelihood the token at this position tells, as `add_scores` takes them."""
        number = position - self.num_reusable_tokens
        if not 0 <= number < len(self.targets):
            return ()
        others = self.alternatives if number == 0 else ()
        return (self.targets[number], *(token for _, token in others))

    @property
    def num_completion_tokens(self) -> int:
        return 0 if self.targets else len(self.tokens) - self.num_prompt_tokens

    @property
    def is_decoding(self) -> bool:
        return self.num_remaining_tokens == 1 and self.num_completion_tokens > 0

    @property
    def is_interactive(self) -> bool:
        return self.request.priority == "interactive"
