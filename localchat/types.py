"""The values that flow between the layers. Frozen, without identity, without behaviour.

Storage adds ids, the engine adds state (`engine.sequence.Sequence`); neither belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen, and when to stop.

    The sampler steps run in the order of the fields, as llama.cpp orders them by default.
    A temperature of 0 is greedy: the later steps are not used.
    """

    repeat_penalty: float = 1.0
    """Divides the logits of tokens seen in the last 64; 1 is off."""
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 0.95
    """Keep the likeliest tokens whose probabilities sum to p; 1 keeps all."""
    min_p: float = 0.05
    """Drop tokens less likely than p times the likeliest; 0 keeps all."""
    temperature: float = 0.8
    """Flattens (above 1) or sharpens (below 1) the distribution; 0 is greedy."""
    seed: int | None = None
    """Of the random draw, 32 bits; None draws a seed, which `Finished` reports."""
    max_tokens: int | None = None
    """Completion tokens at most; None: as many as the context holds."""
    stop: tuple[str, ...] = ()
    """Generation ends before any of these strings; they are not part of the text."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion of a conversation, or of a raw prompt without a chat template.

    Exactly one of `messages` and `prompt` is set.
    """

    id: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    params: SamplingParams = field(default_factory=SamplingParams)
    reuse_cache: bool = True
    """Whether what earlier requests left in the KV cache may serve as this one's prefix, and what
    it leaves itself as a later one's."""
    render_only: bool = False
    """Answer with `Rendered` in place of a completion; nothing is decoded."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request. `cached_tokens` is the part of the prompt not prefilled."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one request went, in seconds of the engine's clock."""

    queue: float
    """From arrival to the first row in a batch."""
    prefill: float
    """From there to the first sampled token."""
    decode: float
    """From the first sampled token to the last."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What an engine process is started with; other options mean another process."""

    context: int = 8192
    """Tokens of KV cache, shared by all requests; never more than the model was trained for."""
    threads: int = 0
    """Compute threads; 0: one per physical core this process may use."""
    parallel: int = 16
    """Requests that decode together."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model file that is installed, verified and ready to be loaded."""

    name: str
    """As the user calls it: a catalogue name or a path."""
    path: str
    """Absolute path of the GGUF file."""
    sha256: str | None = None
    """Of the file's content; None for a file that is not in the catalogue."""
    chat_template: str | None = None
    """Replaces the template inside the GGUF."""
    sampling: tuple[tuple[str, float | int], ...] = ()
    """The model's own defaults: (field of SamplingParams, value)."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a running engine says of itself when a client connects."""

    version: str
    pid: int
    model: str
    context: int
    """Tokens one request may fill, prompt and completion together."""
    has_chat_template: bool
    load_seconds: float
