"""Tiny GGUF models with seeded random weights, for tests that need a real llama.cpp model.

Owns the shapes, hyperparameters and vocabularies of the models; the text they generate is
meaningless but the same for the same seed. Every model has the control tokens in
``CONTROL_TOKENS``, as ids 0, 1 and 2, and one of two vocabularies: SPM (``SPM_ARCHITECTURES``,
BOS token and space prepended) or byte-level BPE (all others, nothing prepended).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import numpy.typing as npt

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

BOS, TURN_START, TURN_END = CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("h e", "l l", "he ll", "hell o", "▁ hello", "t h", "th e", "▁ the")

LAYERS = 2
EMBEDDING = 64
HEADS = 2
HEAD = EMBEDDING // HEADS  # a multiple of 32, so that the KV cache can be quantised
FEED_FORWARD = 128
SSM_INNER = 2 * EMBEDDING
SSM_STATE = 16
SSM_CONV = 4
SSM_RANK = 4
SHORT_CONV = 3
RELATIVE_BUCKETS = 8

Shape = tuple[int | Literal["vocab", "context"], ...]
Tensors = Mapping[str, Shape]
Value = bool | int | float | Sequence[bool] | Sequence[int]


def _norms(*names: str) -> Tensors:
    return {f"{name}.weight": (EMBEDDING,) for name in names}


def _biased(tensors: Tensors) -> Tensors:
    biases = {name.replace(".weight", ".bias"): shape[:1] for name, shape in tensors.items()}
    return {**tensors, **biases}


def _layers(*parts: Tensors, prefix: str = "blk", layers: Sequence[int] = range(LAYERS)) -> Tensors:
    return {
        f"{prefix}.{layer}.{name}": shape
        for layer in layers
        for part in parts
        for name, shape in part.items()
    }


OUTPUT_NORM = _norms("output_norm")
BIASED_OUTPUT_NORM = _biased(OUTPUT_NORM)
PRE_NORMS = _norms("attn_norm", "ffn_norm")
POST_NORMS = _norms("post_attention_norm", "post_ffw_norm")
HEAD_NORMS: Tensors = {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
SPLIT_QKV: Tensors = {
    "attn_q.weight": (EMBEDDING, EMBEDDING),
    "attn_k.weight": (HEAD, EMBEDDING),
    "attn_v.weight": (HEAD, EMBEDDING),
}
FUSED_QKV: Tensors = {"attn_qkv.weight": (EMBEDDING + 2 * HEAD, EMBEDDING)}
ATTN_OUT: Tensors = {"attn_output.weight": (EMBEDDING, EMBEDDING)}
MLP: Tensors = {
    "ffn_up.weight": (FEED_FORWARD, EMBEDDING),
    "ffn_down.weight": (EMBEDDING, FEED_FORWARD),
}
GATED_MLP: Tensors = {**MLP, "ffn_gate.weight": (FEED_FORWARD, EMBEDDING)}
FUSED_GATED_MLP: Tensors = {**MLP, "ffn_up.weight": (2 * FEED_FORWARD, EMBEDDING)}
STATE_SPACE: Tensors = {
    "ssm_in.weight": (2 * SSM_INNER, EMBEDDING),
    "ssm_conv1d.weight": (SSM_INNER, SSM_CONV),
    "ssm_conv1d.bias": (SSM_INNER,),
    "ssm_x.weight": (SSM_RANK + 2 * SSM_STATE, SSM_INNER),
    "ssm_dt.weight": (SSM_INNER, SSM_RANK),
    "ssm_dt.bias": (SSM_INNER,),
    "ssm_a": (SSM_INNER, SSM_STATE),
    "ssm_d": (SSM_INNER,),
    "ssm_out.weight": (EMBEDDING, SSM_INNER),
}
STATE_SPACE_NORMS: Tensors = {
    "ssm_dt_norm.weight": (SSM_RANK,),
    "ssm_b_norm.weight": (SSM_STATE,),
    "ssm_c_norm.weight": (SSM_STATE,),
}
SHORT_CONVOLUTION: Tensors = {
    "shortconv.conv.weight": (EMBEDDING, SHORT_CONV),
    "shortconv.in_proj.weight": (3 * EMBEDDING, EMBEDDING),
    "shortconv.out_proj.weight": (EMBEDDING, EMBEDDING),
}
T5_ATTENTION: Tensors = {f"attn_{part}.weight": (EMBEDDING, EMBEDDING) for part in "qkvo"}
T5_CROSS_ATTENTION: Tensors = {f"cross_{name}": shape for name, shape in T5_ATTENTION.items()}
T5_POSITIONS: Tensors = {"attn_rel_b.weight": (RELATIVE_BUCKETS, HEADS)}
T5_LAYER: Sequence[Tensors] = (PRE_NORMS, T5_ATTENTION, T5_POSITIONS, GATED_MLP)


def _decoder(*parts: Tensors, output_norm: Tensors = OUTPUT_NORM) -> Tensors:
    return {**_layers(*parts), **output_norm, "output.weight": ("vocab", EMBEDDING)}


def _hybrid(
    recurrent: Sequence[Tensors],
    attention: Sequence[Tensors],
    output_norm: Tensors = OUTPUT_NORM,
) -> Tensors:
    """A recurrent layer, then one with attention, each before a feed-forward part."""
    return {
        **_layers(PRE_NORMS, GATED_MLP),
        **_layers(*recurrent, layers=[0]),
        **_layers(*attention, layers=[1]),
        **output_norm,
        "output.weight": ("vocab", EMBEDDING),
    }


TRANSFORMER: Mapping[str, Value] = {
    "feed_forward_length": FEED_FORWARD,
    "attention.head_count": HEADS,
    "attention.head_count_kv": 1,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-5,
}


STATE_SPACE_MODEL: Mapping[str, Value] = {
    "attention.layer_norm_rms_epsilon": 1e-5,
    "ssm.conv_kernel": SSM_CONV,
    "ssm.inner_size": SSM_INNER,
    "ssm.state_size": SSM_STATE,
    "ssm.time_step_rank": SSM_RANK,
}


@dataclass(frozen=True)
class _Architecture:
    """What one architecture has beyond the hyperparameters and tensors common to all."""

    hyperparameters: Mapping[str, Value]
    tensors: Tensors
    spm: bool = False


_GENERATIVE: Mapping[str, _Architecture] = {
    "llama": _Architecture(TRANSFORMER, _decoder(PRE_NORMS, SPLIT_QKV, ATTN_OUT, GATED_MLP)),
    "qwen2": _Architecture(
        TRANSFORMER, _decoder(PRE_NORMS, _biased(SPLIT_QKV), ATTN_OUT, GATED_MLP)
    ),
    "qwen3": _Architecture(
        TRANSFORMER, _decoder(PRE_NORMS, SPLIT_QKV, HEAD_NORMS, ATTN_OUT, GATED_MLP)
    ),
    "gemma3": _Architecture(
        {
            **TRANSFORMER,
            "attention.sliding_window": 64,
            "attention.sliding_window_pattern": [True, False],
        },
        _decoder(PRE_NORMS, POST_NORMS, SPLIT_QKV, HEAD_NORMS, ATTN_OUT, GATED_MLP),
        spm=True,
    ),
    "falcon": _Architecture(
        TRANSFORMER,
        _decoder(
            _biased(_norms("attn_norm")), FUSED_QKV, ATTN_OUT, MLP, output_norm=BIASED_OUTPUT_NORM
        ),
    ),
    "mpt": _Architecture(
        {**TRANSFORMER, "attention.max_alibi_bias": 8.0},
        _decoder(PRE_NORMS, FUSED_QKV, ATTN_OUT, MLP),
    ),
    "stablelm": _Architecture(
        {**TRANSFORMER, "rope.dimension_count": HEAD // 4},
        _decoder(
            _biased(PRE_NORMS), SPLIT_QKV, ATTN_OUT, GATED_MLP, output_norm=BIASED_OUTPUT_NORM
        ),
    ),
    "phi3": _Architecture(
        TRANSFORMER, _decoder(PRE_NORMS, FUSED_QKV, ATTN_OUT, FUSED_GATED_MLP), spm=True
    ),
    "mamba": _Architecture(STATE_SPACE_MODEL, _decoder(_norms("attn_norm"), STATE_SPACE)),
    "jamba": _Architecture(
        {**TRANSFORMER, **STATE_SPACE_MODEL, "attention.head_count_kv": [0, 1]},
        _hybrid([STATE_SPACE, STATE_SPACE_NORMS], [SPLIT_QKV, ATTN_OUT]),
    ),
    "lfm2": _Architecture(
        {**TRANSFORMER, "attention.head_count_kv": [0, 1], "shortconv.l_cache": SHORT_CONV},
        _hybrid([SHORT_CONVOLUTION], [SPLIT_QKV, HEAD_NORMS, ATTN_OUT], _norms("token_embd_norm")),
    ),
}

_NON_GENERATIVE: Mapping[str, _Architecture] = {
    "bert": _Architecture(
        {**TRANSFORMER, "attention.causal": False, "pooling_type": 1},
        {
            **_biased(_norms("token_embd_norm")),
            "token_types.weight": (2, EMBEDDING),
            "position_embd.weight": ("context", EMBEDDING),
            **_layers(
                _biased({**SPLIT_QKV, **ATTN_OUT, **MLP}),
                _biased(_norms("attn_output_norm", "layer_output_norm")),
            ),
        },
    ),
    "t5": _Architecture(
        {
            **TRANSFORMER,
            "attention.head_count_kv": HEADS,
            "attention.relative_buckets_count": RELATIVE_BUCKETS,
        },
        {
            **_layers(*T5_LAYER, prefix="enc.blk"),
            **_layers(*T5_LAYER, prefix="dec.blk"),
            **_layers(_norms("cross_attn_norm"), T5_CROSS_ATTENTION, prefix="dec.blk"),
            **_norms("enc.output_norm", "dec.output_norm"),
        },
    ),
}

_ALL: Mapping[str, _Architecture] = {**_GENERATIVE, **_NON_GENERATIVE}

ARCHITECTURES: tuple[str, ...] = tuple(_GENERATIVE)
NON_GENERATIVE_ARCHITECTURES: tuple[str, ...] = tuple(_NON_GENERATIVE)
SPM_ARCHITECTURES: tuple[str, ...] = tuple(name for name, spec in _ALL.items() if spec.spm)


def write_tiny_model(
    path: Path,
    architecture: str,
    *,
    chat_template: str | None = CHATML,
    context_length: int = 256,
    seed: int = 0,
) -> Path:
    """Write a model of one of the architectures named in this module to ``path``; return it."""
    spec = _ALL[architecture]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny model")  # a name with "phi3" in it makes llama.cpp demand Phi-3's tokens
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context_length)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    for key, value in spec.hyperparameters.items():
        _add_hyperparameter(writer, f"{architecture}.{key}", value)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    sizes = {"vocab": _add_vocabulary(writer, spm=spec.spm), "context": context_length}

    rng = np.random.default_rng(seed)
    tensors: Tensors = {"token_embd.weight": ("vocab", EMBEDDING), **spec.tensors}
    for name, shape in tensors.items():
        dimensions = [size if isinstance(size, int) else sizes[size] for size in shape]
        writer.add_tensor(name, _weights(name, dimensions, rng))

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_hyperparameter(writer: gguf.GGUFWriter, key: str, value: Value) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case _:
            writer.add_array(key, value)


def _weights(
    name: str, dimensions: Sequence[int], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return random values on a scale at which activations stay finite and of order one."""
    values = rng.standard_normal(dimensions, dtype=np.float32)
    if name.endswith("ssm_a"):
        return -np.exp(values)  # a decay rate: positive values would let the state grow
    if name.endswith(".bias"):
        return values * np.float32(0.1)
    if values.ndim == 1:
        return 1 + values * np.float32(0.1)
    return values / np.float32(np.sqrt(dimensions[-1]))


def _add_vocabulary(writer: gguf.GGUFWriter, *, spm: bool) -> int:
    """Add a vocabulary to the model; return how many tokens it has."""
    kind = gguf.TokenType
    merges = [merge.replace("▁", "▁" if spm else "Ġ") for merge in MERGES]
    words = [merge.replace(" ", "") for merge in merges]
    types = dict.fromkeys(CONTROL_TOKENS, kind.CONTROL)
    if spm:
        types["<unk>"] = kind.UNKNOWN
        types |= dict.fromkeys((f"<0x{byte:02X}>" for byte in range(0x100)), kind.BYTE)
        types |= dict.fromkeys([*words, "▁", *map(chr, range(0x21, 0x7F))], kind.NORMAL)
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(rank) for rank in range(len(types))])
        writer.add_unk_token_id(len(CONTROL_TOKENS))
    else:
        types |= dict.fromkeys([*_byte_alphabet(), *words], kind.NORMAL)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(merges)
    writer.add_token_list(list(types))
    writer.add_token_types(list(types.values()))
    writer.add_token_type_count(2)
    writer.add_add_bos_token(spm)
    writer.add_add_space_prefix(spm)
    writer.add_bos_token_id(CONTROL_TOKENS.index(BOS))
    writer.add_eos_token_id(CONTROL_TOKENS.index(TURN_END))
    writer.add_eot_token_id(CONTROL_TOKENS.index(TURN_END))
    return len(types)


def _byte_alphabet() -> list[str]:
    """Return the character that stands for each byte in a byte-level BPE vocabulary."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = count(0x100)
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(0x100)]
