"""A context: KV cache, compute buffers, and the call that runs a batch through the model."""

from __future__ import annotations

import ctypes
from typing import Any

from localchat.errors import EngineFailed, ModelLoadFailed, OutOfSpace
from localchat.llama.batch import Batch
from localchat.llama.library import C, reason
from localchat.llama.memory import Memory
from localchat.llama.model import Model

_ABORTED = 2  # llama_decode's code for a batch that the abort callback stopped


class Context:
    """One KV cache of `n_ctx` cells, shared by `n_sequences` sequences."""

    def __init__(
        self, model: Model, *, n_ctx: int, n_batch: int, n_sequences: int, n_threads: int
    ) -> None:
        """Allocates the context.

        `n_ctx` and `n_batch` count tokens: of the whole KV cache, and of the longest batch.
        Raises OutOfSpace when the memory for it can't be had.
        """
        params = C.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = n_sequences
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        # A window that keeps only its last tokens could not be cut back to an earlier position.
        params.swa_full = True
        self._handle: Any = C.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise OutOfSpace(
                f"There is not enough memory for a context of {n_ctx:,} tokens ({reason()}).",
                "Lower the setting: LOCALCHAT_CONTEXT=2048",
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

        False if `abort` stopped it: any part of it may then be in the KV cache.
        Raises EngineFailed for everything else that llama.cpp reports.
        """
        code = C.llama_decode(self._handle, batch.struct)
        if code in (0, _ABORTED):
            return code == 0
        raise EngineFailed(f"llama.cpp could not decode a batch (code {code}): {reason()}.")

    def logit(self, row: int, token: int) -> float:
        """The logit of `token` after the batch's row `row`."""
        logits = C.llama_get_logits_ith(self._handle, row)
        if not logits:
            raise EngineFailed(f"llama.cpp has no logits for row {row}.")
        return logits[token]

    def logits(self, row: int) -> list[float]:
        """All logits after the batch's row `row`, one per token of the vocabulary."""
        logits = C.llama_get_logits_ith(self._handle, row)
        if not logits:
            raise EngineFailed(f"llama.cpp has no logits for row {row}.")
        return logits[: self._model.vocabulary.size]

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
