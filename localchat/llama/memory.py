"""What a context remembers: its KV cache, or the state of a recurrent model."""

from __future__ import annotations

from typing import Any

from localchat.llama.library import C


class Memory:
    """Positions are token positions of a sequence, from 0; `sequence` is its number."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def cut(self, sequence: int, start: int) -> bool:
        """Forgets the sequence's tokens from position `start` on.

        False if this kind of memory can't be cut there (recurrent models); it is then unchanged.
        """
        return C.llama_memory_seq_rm(self._handle, sequence, start, -1)

    def clear(self, sequence: int) -> None:
        """Forgets the whole sequence; every kind of memory can."""
        C.llama_memory_seq_rm(self._handle, sequence, -1, -1)

    def clear_all(self) -> None:
        """Forgets all sequences, and what is known of the places that they had."""
        C.llama_memory_clear(self._handle, False)

    def copy(self, source: int, target: int, count: int) -> None:
        """Gives `target`, which must be empty, the first `count` tokens of `source`.

        The KV cells are shared, not copied; recurrent models copy their whole state.
        """
        C.llama_memory_seq_cp(self._handle, source, target, 0, count)

    def first(self, sequence: int) -> int:
        """The first position from which on nothing is missing; above 0 where a sliding window
        went on and other tokens took the cells that it left. -1 if the sequence is empty."""
        return C.llama_memory_seq_pos_min(self._handle, sequence)

    def length(self, sequence: int) -> int:
        """Tokens of the sequence that are in memory."""
        return C.llama_memory_seq_pos_max(self._handle, sequence) + 1
