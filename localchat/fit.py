"""Whether a model fits into memory, told from its header before a byte of it is loaded.

Arithmetic on what `localchat.gguf` reads and `localchat.room` finds. The formulas follow what
llama.cpp allocates and err on the high side; `tests/test_fit.py` compares them with its own log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from localchat import gguf
from localchat.errors import OutOfSpace
from localchat.gguf import Header
from localchat.types import KVType, LoadOptions

TOKEN_BUDGET = 512
"""Rows of a step at most. llama.cpp computes them as one unit; more would gain no speed and make a
step, which other requests wait for, longer."""

DRAFT_BUDGET = 128
"""The same for a draft model, which reads a prompt beside the steps of the other."""

SPARE_SEQUENCES = 2
"""Slots that batches leave to interactive requests, beside the `LoadOptions.parallel` of all."""

KV_BYTES: dict[KVType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of one number in the KV cache; quantized ones are kept in blocks of 32."""

CONTEXT_STEP = 256  # tokens; llama.cpp rounds up to it
_LEAST_CONTEXT = 2048  # tokens that `auto` gives even where memory is short
_AUTO_SHARE = 4  # `auto` leaves all but a quarter of the memory to others
# Bytes of KV cache that `auto` takes without asking; beyond, as many as the weights have. llama.cpp
# zeroes the cache at some 2 GB/s: so a start takes no longer than reading the weights does.
_AUTO_FREE = 2**30
_MOST_LAYERS = 512  # llama.cpp refuses more
_FLOAT = 4  # bytes
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a model takes when it is loaded."""

    weights: int
    kv_cache: int
    """Of all tokens, and of the states of recurrent layers."""
    compute: int
    """Working memory of one batch."""

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.compute


@dataclass(frozen=True, slots=True)
class Footprint:
    """A model and everything that decides its memory, but for the length of its context."""

    header: Header
    weights: int
    """Bytes of its file, or files."""
    kv_type: KVType
    sequences: int
    """Whose states a recurrent model keeps apart."""
    batch: int
    """Tokens computed together at most."""

    @property
    def trained_context(self) -> int:
        return self.header.number("context_length")

    @property
    def layers(self) -> int:
        return min(self.header.number("block_count"), _MOST_LAYERS)

    def estimate(self, context: int) -> Estimate:
        """What a context of so many tokens takes."""
        cells = _round_up(context)
        cache = cells * _row_bytes(self.header, self.layers, self.kv_type)
        cache += self.sequences * _state_bytes(self.header, self.layers)
        return Estimate(self.weights, round(cache), self._compute(cells))

    def auto_context(self, available: int) -> int:
        """The longest context that leaves most of the `available` bytes to others.

        Never more than the model was trained for, and 2,048 tokens even if they are too many.
        """
        budget = (available - self.weights) // _AUTO_SHARE
        quick = max(_AUTO_FREE, self.weights) + self.estimate(_LEAST_CONTEXT).compute
        budget = min(budget, quick)
        trained = self.trained_context or _LEAST_CONTEXT
        fits = self._longest(trained, budget)
        return min(trained, max(fits, _LEAST_CONTEXT))

    def check(self, context: int, available: int, name: str) -> None:
        """Raises OutOfSpace, which says what would fit, if `available` bytes are too few."""
        needed = self.estimate(context)
        if needed.total > available:
            raise OutOfSpace(
                f"{name} needs {_size(needed.total)} of memory for a context of {context:,} tokens"
                f" (weights {_size(needed.weights)}, KV cache {_size(needed.kv_cache)},"
                f" computing {_size(needed.compute)}); {_size(available)} is available.",
                self._advice(context, available),
            )

    def _advice(self, context: int, available: int) -> str:
        ways = []
        shorter = self._longest(context - 1, available - self.weights)
        if shorter >= min(CONTEXT_STEP, context - 1):
            ways.append(f"a smaller context: LOCALCHAT_CONTEXT={shorter}")
        for kv_type, width in KV_BYTES.items():
            smaller = Footprint(self.header, self.weights, kv_type, self.sequences, self.batch)
            if width < KV_BYTES[self.kv_type] and smaller.estimate(context).total <= available:
                ways.append(f"a quantized KV cache: LOCALCHAT_KV_TYPE={kv_type}")
                break
        if not ways:
            ways.append("a smaller quantization of the model, or a smaller model")
        return ", or ".join(ways)

    def _longest(self, limit: int, budget: int) -> int:
        """The longest context up to `limit` whose KV cache and computing take `budget` bytes."""
        low, high = 0, limit // CONTEXT_STEP
        if self._beside_weights(limit) <= budget:
            return limit
        while low < high:
            middle = (low + high + 1) // 2
            if self._beside_weights(middle * CONTEXT_STEP) <= budget:
                low = middle
            else:
                high = middle - 1
        return low * CONTEXT_STEP

    def _beside_weights(self, context: int) -> int:
        needed = self.estimate(context)
        return needed.kv_cache + needed.compute

    def _compute(self, cells: int) -> int:
        """The widest moment of a batch: in attention, in the feed-forward part, or at the logits.

        llama.cpp's allocator finds room for a tensor where an earlier one is done with; what it
        can't fill makes some percents.
        """
        header, vocabulary = self.header, self.header.vocabulary_size
        width = header.number("embedding_length")
        heads = header.number("attention.head_count")
        key, value = _head_widths(header)
        heads_kv = header.number("attention.head_count_kv", heads)
        attention = 2 * heads * max(key, value) + heads_kv * (key + value) + 3 * width
        experts = max(1, header.number("expert_used_count"))
        hidden = header.number("feed_forward_length")
        if experts > 1:
            hidden = experts * header.number("expert_feed_forward_length", hidden)
            hidden = max(hidden, 2 * experts * width // 3)
        recurrent = 8 * header.number("ssm.inner_size") + 3 * width
        layer = max(attention, 3 * hidden + 4 * width, recurrent) * _FLOAT
        masks = 2 if header.number("attention.sliding_window") else 1
        mask = masks * cells * 2 * (heads > 0)  # which cells each token sees, in two bytes each
        logits = (vocabulary + 3 * width) * _FLOAT
        states = 3 * self.sequences * _state_bytes(header, 1)
        outputs = self.sequences * vocabulary * _FLOAT
        widest = self.batch * max(mask + layer, logits) + states
        return widest + widest // 20 + outputs + _MIB


def footprint(path: str, options: LoadOptions) -> Footprint:
    """What the model at `path` takes, as its header has it. Raises ModelLoadFailed."""
    return Footprint(
        gguf.read_file(path),
        weights=sum(part.stat().st_size for part in gguf.parts(Path(path))),
        kv_type=options.kv_type,
        sequences=options.parallel + SPARE_SEQUENCES,
        batch=TOKEN_BUDGET,
    )


def draft_footprint(path: str) -> Footprint:
    """What a draft model takes. Raises ModelLoadFailed."""
    return replace(footprint(path, LoadOptions()), sequences=1, batch=DRAFT_BUDGET)


def context_length(needed: Footprint, options: LoadOptions, available: int) -> int:
    """Tokens of the context: as asked for, but never more than the model was trained for."""
    if options.context:
        return min(options.context, needed.trained_context or options.context)
    return needed.auto_context(available)


def _row_bytes(header: Header, layers: int, kv_type: KVType) -> float:
    """Bytes that one token takes in the KV cache, in all layers."""
    return sum(_kv_heads(header, layers)) * sum(_head_widths(header)) * KV_BYTES[kv_type]


def _kv_heads(header: Header, layers: int) -> tuple[int, ...]:
    """Heads of the KV cache in each layer; recurrent layers have none."""
    heads = header.values("attention.head_count_kv") or header.values("attention.head_count")
    if len(heads) > 1:
        return heads[:layers]
    interval = max(1, header.number("full_attention_interval"))
    return heads * (layers // interval) + (0,) * (layers - layers // interval)


def _state_bytes(header: Header, layers: int) -> int:
    """Bytes that one sequence takes in the recurrent layers; 0 for models without."""
    width, inner = header.number("embedding_length"), header.number("ssm.inner_size")
    state, groups = header.number("ssm.state_size"), header.number("ssm.group_count")
    convolved = max(0, header.number("ssm.conv_kernel") - 1) * (inner + 2 * groups * state)
    convolved += max(0, header.number("shortconv.l_cache") - 1) * width
    head = header.number("wkv.head_size")
    rwkv = width * (head + header.number("token_shift_count", 2)) if head else 0
    # Where no layer is told apart, each has both an attention and a state, or there are no heads.
    recurrent = _kv_heads(header, layers).count(0) or layers
    return recurrent * (convolved + state * inner + rwkv) * _FLOAT


def _head_widths(header: Header) -> tuple[int, int]:
    """Numbers in a key and in a value of one head; the widest, where layers differ."""
    usual = header.number("embedding_length") // max(1, header.number("attention.head_count"))
    key, value = (
        max(
            header.number(f"attention.{part}_length", usual),
            header.number(f"attention.{part}_length_swa"),
        )
        for part in ("key", "value")
    )
    return key, value


def _round_up(tokens: int) -> int:
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
