"""A context: KV cache, compute buffers, and the call that runs a batch through the model."""

from __future__ import annotations

import ctypes
import re
from typing import Any

from localchat.errors import ConfigError, EngineFailed, ModelLoadFailed, OutOfSpace
from localchat.llama.batch import Batch
from localchat.llama.library import C, forget_errors, reason
from localchat.llama.memory import Memory
from localchat.llama.model import Model
from localchat.types import KVType

_KV_TYPES: dict[KVType, int] = {
    "f16": C.GGML_TYPE_F16,
    "q8_0": C.GGML_TYPE_Q8_0,
    "q4_0": C.GGML_TYPE_Q4_0,
}
# llama.cpp's words for a head that blocks of 32 don't divide, and for a model without the flash
# attention that reads quantized values.
_UNQUANTIZABLE = re.compile("block size|quantiz|flash_attn", re.IGNORECASE)
_ABORTED = 2  # llama_decode's code for a batch that the abort callback stopped


class Context:
    """One KV cache of `n_ctx` cells, shared by `n_sequences` sequences."""

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_batch: int,
        n_sequences: int,
        n_threads: int,
        kv_type: KVType = "f16",
    ) -> None:
        """Allocates the context.

        `n_ctx` and `n_batch` count tokens: of the whole KV cache, and of the longest batch.
        Raises OutOfSpace when the memory for it can't be had, ConfigError when the model's heads
        don't divide into the blocks of `kv_type`.
        """
        params = C.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = n_sequences
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        params.type_k = params.type_v = _KV_TYPES[kv_type]
        # A window that keeps only its last tokens could not be cut back to an earlier position.
        params.swa_full = True
        forget_errors()
        self._handle: Any = C.llama_init_from_model(model.handle, params)
        if not self._handle:
            if kv_type != "f16" and _UNQUANTIZABLE.search(reason()):
                raise ConfigError(
                    f"The setting 'kv_type' can't be {kv_type!r} with this model ({reason()}).",
                    "LOCALCHAT_KV_TYPE=f16",
                )
            raise OutOfSpace(
                f"There is not enough memory for a context of {n_ctx:,} tokens ({reason()}).",
                f"a smaller context: LOCALCHAT_CONTEXT={n_ctx // 2}, or a smaller model",
            )
        self._model = model
        memory = C.llama_get_memory(self._handle)
        if not memory:
            self.close()
            raise ModelLoadFailed(
                "This model can't generate text: it is an encoder, made for embeddings.",
                "localchat models list",
            )
        self.memory = Memory(memory)
        self._abort_flag = ctypes.create_string_buffer(2)
        self._install_abort_flag()

    @property
    def n_ctx(self) -> int:
        """Tokens the KV cache holds: what was asked for, rounded up by llama.cpp."""
        return C.llama_n_ctx(self._handle)

    @property
    def handle(self) -> Any:
        return self._handle

    def decode(self, batch: Batch) -> bool:
        """Runs the batch; its tokens are then in the KV cache and its logits can be read.

        False if `abort` stopped it: any part of it may then be in the KV cache. Recurrent memory
        has then lost its sequence; if there are several in it, all that the context holds.
        Raises EngineFailed for everything else that llama.cpp reports; with that it is the same.
        """
        code = C.llama_decode(self._handle, batch.struct)
        if code != 0 and self._model.has_recurrent_memory:
            self._forget_moved(batch)
        if code in (0, _ABORTED):
            return code == 0
        raise EngineFailed(f"llama.cpp could not decode a batch (code {code}): {reason()}.")

    def _forget_moved(self, batch: Batch) -> None:
        """Empties what a batch that did not get to its end leaves wrong in recurrent memory.

        llama.cpp puts the states of a batch side by side, others' out of their way, and zeros into
        empty places in between: in its books before it computes, in memory as it does so. What was
        not computed is then taken to be where it is not, also by sequences that come later and
        get such a place. A sequence alone has only its own place to itself.
        """
        sequences = batch.sequences
        if len(sequences) > 1:
            self.memory.clear_all()
        for sequence in sequences:
            self.memory.clear(sequence)

    def logit(self, row: int, token: int) -> float:
        """The logit of `token` after the batch's row `row`."""
        logits = C.llama_get_logits_ith(self._handle, row)
        if not logits:
            raise EngineFailed(f"llama.cpp has no logits for row {row}.")
        return logits[token]

    def logits(self, row: int) -> Any:
        """All logits after the batch's row `row`: one float32 per token of the vocabulary.

        A view of llama.cpp's own memory, good until the next `decode`.
        """
        logits = C.llama_get_logits_ith(self._handle, row)
        if not logits:
            raise EngineFailed(f"llama.cpp has no logits for row {row}.")
        address = ctypes.cast(logits, ctypes.c_void_p).value
        assert address is not None
        count = self._model.vocabulary.size
        floats = (ctypes.c_float * count).from_address(address)
        return memoryview(floats).cast("B").cast("f")

    def set_threads(self, count: int) -> None:
        """Compute threads of the steps that follow."""
        C.llama_set_n_threads(self._handle, count, count)

    def abort(self) -> None:
        """Stops the batch in flight at its next graph node. Callable from any thread."""
        self._abort_flag[0] = b"\x01"

    def clear_abort(self) -> None:
        self._abort_flag[0] = b"\x00"

    def _install_abort_flag(self) -> None:
        """llama.cpp asks before each graph node whether to stop, hundreds of times a step.

        A Python callback would take the interpreter lock each time. C's strlen answers the same
        question on a two-byte buffer: 0 (go on) while the first byte is zero, else 1 (stop).
        """
        strlen = C.ggml_abort_callback(("strlen", ctypes.CDLL(None)))
        C.llama_set_abort_callback(self._handle, strlen, ctypes.addressof(self._abort_flag))

    def close(self) -> None:
        if self._handle:
            C.llama_free(self._handle)
            self._handle = None
