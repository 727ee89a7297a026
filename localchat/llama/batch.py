"""The rows of one step, in llama.cpp's layout."""

from __future__ import annotations

from typing import Any

from localchat.llama.library import C


class Batch:
    """A reusable buffer of rows; each is one token at one position of one sequence."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.struct: Any = C.llama_batch_init(capacity, 0, 1)

    def clear(self) -> None:
        self.struct.n_tokens = 0

    def add(self, token: int, position: int, sequence: int, wants_logits: bool) -> None:
        struct = self.struct
        row = struct.n_tokens
        # llama.cpp asserts this and would end the process.
        assert row < self.capacity, "more rows than the batch holds"
        struct.token[row] = token
        struct.pos[row] = position
        struct.n_seq_id[row] = 1
        struct.seq_id[row][0] = sequence
        struct.logits[row] = wants_logits
        struct.n_tokens = row + 1

    @property
    def sequences(self) -> set[int]:
        """Whose the rows are."""
        return {self.struct.seq_id[row][0] for row in range(len(self))}

    def __len__(self) -> int:
        return self.struct.n_tokens

    def close(self) -> None:
        if self.struct is not None:
            C.llama_batch_free(self.struct)
            self.struct = None
