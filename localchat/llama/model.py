"""A loaded GGUF file: weights, vocabulary, metadata."""

from __future__ import annotations

import os
from typing import Any

from localchat.errors import ModelLoadFailed
from localchat.llama.library import C, forget_errors, reason
from localchat.llama.vocabulary import Vocabulary


class Model:
    """The weights of one file, memory-mapped and shared by its contexts."""

    def __init__(self, path: str, *, gpu_layers: int = 0, check_tensors: bool = False) -> None:
        """Loads `path`, and as many of its layers, from the last on, into the memory of GPUs.

        `check_tensors`: reads all weights and refuses the file if one of them is not a number.
        Raises ModelLoadFailed when llama.cpp refuses the file, with its reason. A header that
        llama.cpp's own assertions reject ends the process: only the engine process loads models.
        """
        params = C.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        if check_tensors:
            params.check_tensors = True
            params.lazy_mode = C.LLAMA_LAZY_MODE_OFF  # leaves nothing for later
            params.use_extra_bufts = False  # nor copies weights into another layout
        forget_errors()
        self._handle: Any = C.llama_model_load_from_file(os.fsencode(path), params)
        if not self._handle:
            raise ModelLoadFailed(
                f"llama.cpp can't load {path}: {reason()}.",
                "Get the file again, or take another model: localchat models list",
            )
        if C.llama_model_has_encoder(self._handle):
            # Decoding without an encoder pass would end the process.
            self.close()
            raise ModelLoadFailed(
                f"{path} is an encoder-decoder model; only decoders can chat.",
                "localchat models list",
            )
        self.vocabulary = Vocabulary(C.llama_model_get_vocab(self._handle))
        self.trained_context: int = C.llama_model_n_ctx_train(self._handle)
        self.sliding_window: int = C.llama_model_n_swa(self._handle)
        """Tokens that its layers of local attention look back on; 0 without such layers."""
        self.has_recurrent_memory: bool = C.llama_model_is_recurrent(
            self._handle
        ) or C.llama_model_is_hybrid(self._handle)

    @property
    def handle(self) -> Any:
        return self._handle

    @property
    def chat_template(self) -> str | None:
        """The Jinja template in the file's metadata, if it has one."""
        text = C.llama_model_chat_template(self._handle, None)
        return text.decode("utf-8", "replace") if text else None

    def close(self) -> None:
        """Frees the weights. Contexts made from this model must be closed before."""
        if self._handle:
            C.llama_model_free(self._handle)
            self._handle = None
