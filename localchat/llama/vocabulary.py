"""Text to tokens and tokens to bytes."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from localchat.errors import EngineFailed
from localchat.llama.library import C, call_with_buffer

_LARGEST_TEXT = 2**31 - 1  # llama_tokenize takes its length as int32


class Vocabulary:
    """The tokenizer of one model. Immutable, so it may be used from any thread."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._pieces: dict[int, bytes] = {}
        self.size: int = C.llama_vocab_n_tokens(handle)
        self.adds_bos: bool = C.llama_vocab_get_add_bos(handle)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`.

        `add_special` puts BOS (and EOS) where the model's metadata asks for them;
        `parse_special` turns the text of a control token into that token.
        """
        data = text.encode("utf-8", "replace")
        if not data and not add_special:
            return []
        if len(data) > _LARGEST_TEXT:
            raise EngineFailed(f"A text of {len(data):,} bytes is too long to tokenize.")
        return call_with_buffer(
            lambda buffer, size: C.llama_tokenize(
                self._handle, data, len(data), buffer, size, add_special, parse_special
            ),
            len(data) // 2 + 16,
            ctypes.c_int32,
        )

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for: maybe part of a character; empty for control tokens."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = call_with_buffer(
                lambda buffer, size: C.llama_token_to_piece(
                    self._handle, token, buffer, size, 0, False
                ),
                32,
            )
            self._pieces[token] = piece
        return piece

    def text(self, token: int) -> str:
        """The token's entry in the vocabulary: for a control token, its spelling."""
        return C.llama_vocab_get_text(self._handle, token).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Whether the model ends its turn or the text with this token."""
        return C.llama_vocab_is_eog(self._handle, token)

    @property
    def bos(self) -> str:
        return self._spelling(C.llama_vocab_bos(self._handle))

    @property
    def eos(self) -> str:
        return self._spelling(C.llama_vocab_eos(self._handle))

    def _spelling(self, token: int) -> str:
        return self.text(token) if token >= 0 else ""

    @functools.cached_property
    def control_tokens(self) -> dict[str, int]:
        """Spelling to id, of all tokens that text may become only with `parse_special`.

        Asks for every token of the vocabulary: some 15 ms for 50,000 tokens.
        """
        mask = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
        attributes, handle = C.llama_vocab_get_attr, self._handle
        found = [token for token in range(self.size) if attributes(handle, token) & mask]
        return {text: token for token in found if (text := self.text(token))}

    def strips_space_after(self, token: int) -> bool:
        """Whether white space that follows this control token in a prompt is dropped."""
        return bool(C.llama_vocab_get_attr(self._handle, token) & C.LLAMA_TOKEN_ATTR_RSTRIP)

    def strips_space_before(self, token: int) -> bool:
        """Whether white space in front of this control token in a prompt is dropped."""
        return bool(C.llama_vocab_get_attr(self._handle, token) & C.LLAMA_TOKEN_ATTR_LSTRIP)
