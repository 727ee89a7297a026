"""The values that flow between the layers. Frozen, without identity, without behaviour.

Storage adds ids, the engine adds state (`engine.sequence.Sequence`); neither belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from localchat.modes import FinishReason as FinishReason
from localchat.modes import KVType as KVType
from localchat.modes import OverflowPolicy as OverflowPolicy
from localchat.modes import Priority as Priority
from localchat.modes import ReasoningMode as ReasoningMode
from localchat.modes import Role as Role


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

    logit_bias: tuple[tuple[int | str, float], ...] = ()
    """(Token id, or a text of which each token counts; what is added to the logit): -inf forbids a
    token."""
    json_schema: str | None = None
    """JSON text of a schema that the completion, as JSON, must validate against."""
    grammar: str | None = None
    """GBNF grammar that the completion must match; not together with `json_schema`."""
    repeat_penalty: float = 1.0
    """Divides the logits of tokens seen in the last 64; 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from the logits of tokens in the last 64, once for each time they were seen."""
    presence_penalty: float = 0.0
    """Subtracted once from the logits of tokens seen in the last 64."""
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
    logprobs: int | None = None
    """Report the log-probability of each token and of this many of the likeliest; None: don't."""
    n: int = 1
    """Completions of the one prompt; those after the first draw with the following seeds."""


@dataclass(frozen=True, slots=True)
class PartialReply:
    """The beginning of a reply that is to go on."""

    content: str
    reasoning: str = ""
    """What the model thought before it; where there is no content yet, it still thinks."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One completion of a conversation, or of a raw prompt without a chat template.

    Exactly one of `messages` and `prompt` is set.
    """

    id: str
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    partial_reply: PartialReply | None = None
    """What there is of the reply already; the completion goes on where it ends, and is only what
    is new. Not together with a schema or a grammar."""
    params: SamplingParams = field(default_factory=SamplingParams)
    reuse_cache: bool = True
    """Whether what earlier requests left in the KV cache may serve as this one's prefix, and what
    it leaves itself as a later one's."""
    reuse_own: int | None = None
    """Reuse only what the same conversation has left in memory, and at most so many tokens of it:
    the reply is computed as one was for which just these were there. None: whatever is there."""
    render_only: bool = False
    """Answer with `Rendered` in place of a completion; nothing is decoded."""
    continuations: tuple[str, ...] = ()
    """Answer with `Scored`: the log-likelihood of each of these texts after the prompt."""
    priority: Priority = "interactive"
    """Someone waits for an interactive request; a batch gives way to it."""
    conversation: str | None = None
    """Whose turn this is; a conversation's KV cache is kept on disk for when it goes on."""
    private: bool = False
    """Leave nothing on disk, not even as a beginning that other prompts share."""
    overflow: OverflowPolicy = "refuse"
    """What to do with a conversation longer than the context: fail, leave out the oldest turns, or
    put a summary in their place. Either is announced by `Trimmed`."""
    reasoning: ReasoningMode = "auto"
    """Whether a reasoning model thinks before it answers; auto: as its template has it."""
    reasoning_budget: int | None = None
    """Reasoning tokens at most; then the model has to answer. None: no limit."""
    speculate: bool = True
    """Whether tokens may be guessed from the text so far and verified together."""


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
class Choice:
    """How one of several completions ended."""

    finish_reason: FinishReason
    completion_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Score:
    """The log-likelihood of one continuation: natural logarithm, summed over its tokens."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What an engine process is started with; other options mean another process."""

    context: int = 0
    """Tokens of KV cache, shared by all requests; never more than the model was trained for.
    0: as many as memory allows without crowding others out."""
    kv_type: KVType = "f16"
    """How the numbers in the KV cache are kept: the quantized ones take half and a quarter."""
    gpu_layers: int = -1
    """Layers computed on GPUs; -1: as many as fit, 0: none."""
    threads: int = 0
    """Compute threads; 0: one per physical core this process may use."""
    parallel: int = 16
    """Requests that decode together."""
    draft: str | None = None
    """Absolute path of a smaller model that guesses tokens for this one to verify."""
    snapshot_budget: int | None = None
    """Bytes of saved conversations on disk; None: 2 GB or 5% of the free disk, the smaller."""


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
    build: str = ""
    """llama.cpp's version and what it was built for: another build may answer otherwise."""
    template_sha256: str | None = None
    """Of the chat template in use, UTF-8; None without one."""
