"""Stand-ins for the model: a runner with a KV cache of its own that it keeps exactly, a tokenizer.

`FakeRunner` knows nothing of the scheduler's bookkeeping. It applies memory edits and chunks to
its own cells and checks each of them, so wrong bookkeeping shows as a failed assertion, and wrong
cache contents as a wrong completion.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable

from localchat.engine.scheduler import Aborted, Chunk, Copy, Cut, ScheduledBatch
from localchat.engine.sequence import Sequence
from localchat.types import GenerationRequest

NextToken = Callable[[list[int]], int]


def checksum_token(tokens: list[int]) -> int:
    """A next token that depends on every token before it and on their order."""
    return zlib.crc32(repr(tokens).encode()) % 5


def undisturbed(prompt: list[int], count: int, next_token: NextToken = checksum_token) -> list[int]:
    """The completion of a prompt that has the model to itself."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


class FakeMemory:
    """A KV cache: each slot is a list of (cell, token); copied cells are shared."""

    def __init__(self, num_cells: int, *, can_cut: bool) -> None:
        self.num_cells = num_cells
        self.can_cut = can_cut
        self.slots: dict[int, list[tuple[int, int]]] = {}
        self._next_cell = itertools.count()

    def length(self, slot: int) -> int:
        return len(self.slots.get(slot, []))

    def tokens(self, slot: int) -> list[int]:
        return [token for _, token in self.slots.get(slot, [])]

    def append(self, slot: int, tokens: Iterable[int]) -> None:
        held = self.slots.setdefault(slot, [])
        held += [(next(self._next_cell), token) for token in tokens]
        used = {cell for cells in self.slots.values() for cell, _ in cells}
        assert len(used) <= self.num_cells, "more tokens than KV cells"

    def cut(self, slot: int, start: int) -> bool:
        if not self.can_cut and 0 < start < self.length(slot):
            return False
        self.slots[slot] = self.slots.get(slot, [])[:start]
        return True

    def copy(self, edit: Copy) -> None:
        assert self.length(edit.target) == 0, "the target of a copy is empty"
        assert 0 < edit.count <= self.length(edit.source)
        assert self.can_cut or edit.count == self.length(edit.source), "a state is copied whole"
        self.slots[edit.target] = self.slots[edit.source][: edit.count]


class FakeRunner:
    """Runs batches on a `FakeMemory`; the next token is a function of the tokens in it.

    `before_run` is called with each batch before its chunks, and may raise or abort.
    """

    def __init__(
        self,
        num_cells: int,
        token_budget: int,
        *,
        can_cut: bool = True,
        next_token: NextToken = checksum_token,
    ) -> None:
        self.memory = FakeMemory(num_cells, can_cut=can_cut)
        self.token_budget = token_budget
        self.next_token = next_token
        self.before_run: Callable[[ScheduledBatch], None] = lambda batch: None
        self.partly_done = 0
        """Tokens of an aborted batch that are in memory all the same."""
        self.aborted = False
        self.num_runs = 0
        self.released: list[Sequence] = []

    def run(self, scheduled: ScheduledBatch) -> list[int]:
        self.num_runs += 1
        for edit in scheduled.edits:
            if isinstance(edit, Copy):
                self.memory.copy(edit)
            else:
                assert isinstance(edit, Cut)
                assert self.memory.cut(edit.slot, edit.start), "this memory can't be cut"
        self._check(scheduled)
        self.before_run(scheduled)
        if self.aborted:
            self._abort(scheduled)
        sampled = []
        for chunk in scheduled.chunks:
            self.memory.append(chunk.slot, _tokens(chunk))
            if chunk.is_last:
                sampled.append(self.next_token(self.memory.tokens(chunk.slot)))
        return sampled

    def keep(self, slot: int, count: int) -> int:
        if not self.memory.cut(slot, count):
            self.memory.cut(slot, 0)
        return self.memory.length(slot)

    def abort(self) -> None:
        self.aborted = True

    def clear_abort(self) -> None:
        self.aborted = False

    def release(self, sequence: Sequence) -> None:
        self.released.append(sequence)

    def _check(self, scheduled: ScheduledBatch) -> None:
        assert 0 < scheduled.num_tokens <= self.token_budget
        slots = [chunk.slot for chunk in scheduled.chunks]
        assert len(slots) == len(set(slots)), "one chunk for a slot"
        for chunk in scheduled.chunks:
            assert chunk.count > 0
            assert self.memory.tokens(chunk.slot) == chunk.sequence.tokens[: chunk.start]
            is_last = chunk.start + chunk.count == len(chunk.sequence.tokens)
            assert chunk.is_last == is_last

    def _abort(self, scheduled: ScheduledBatch) -> None:
        rows = [(chunk.slot, token) for chunk in scheduled.chunks for token in _tokens(chunk)]
        for slot, token in rows[: self.partly_done]:
            self.memory.append(slot, [token])
        raise Aborted


def _tokens(chunk: Chunk) -> list[int]:
    return chunk.sequence.tokens[chunk.start : chunk.start + chunk.count]


class ByteVocabulary:
    """A token for each byte, and one that ends a reply."""

    END = 256
    adds_bos = False
    bos = ""

    def __init__(self) -> None:
        self.control_tokens = {"<end>": self.END}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return b"" if token == self.END else bytes([token])

    def is_end(self, token: int) -> bool:
        return token == self.END

    def strips_space_after(self, token: int) -> bool:
        return False

    def strips_space_before(self, token: int) -> bool:
        return False


class Replies:
    """A next-token function: the model's reply to each prompt, byte by byte, then its end."""

    def __init__(self, replies: dict[str, bytes]) -> None:
        self._replies = {prompt.encode(): reply for prompt, reply in replies.items()}

    def __call__(self, tokens: list[int]) -> int:
        text = bytes(tokens)
        prompt = max((p for p in self._replies if text.startswith(p)), key=len)
        reply = self._replies[prompt]
        done = len(text) - len(prompt)
        return reply[done] if done < len(reply) else ByteVocabulary.END


def sequence(prompt: list[int], name: str = "r", *, reuse: bool = True) -> Sequence:
    return Sequence(GenerationRequest(name, prompt="", reuse_cache=reuse), list(prompt), 0, 0.0)
