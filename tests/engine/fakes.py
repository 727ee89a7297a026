"""Stand-ins for the model: a runner with a KV cache of its own that it keeps exactly, a tokenizer.

`FakeRunner` knows nothing of the scheduler's bookkeeping. It applies memory edits and chunks to
its own cells and checks each of them, so wrong bookkeeping shows as a failed assertion, and wrong
cache contents as a wrong completion.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from localchat.engine.saved import Saved
from localchat.engine.scheduled import (
    Aborted,
    Chunk,
    Copy,
    Cut,
    Edit,
    Output,
    Restore,
    Save,
    ScheduledBatch,
    State,
    TokenScore,
)
from localchat.engine.scheduler import Scheduler
from localchat.engine.sequence import Sequence
from localchat.engine.slots import common_prefix
from localchat.types import GenerationRequest, Priority, SamplingParams

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


def checksum_score(tokens: list[int], token: int) -> float:
    """A log-probability of `token` that depends on every token before it."""
    return -float(zlib.crc32(repr([*tokens, token]).encode()) % 1000)


class FakeMemory:
    """A KV cache: each slot is a list of (cell, token); copied cells are shared.

    `has_window`: what has left a sliding window may be lost, to a state at once; then the memory
    can't be cut back, nor a beginning copied, below the slot's `floor`.
    """

    def __init__(self, num_cells: int, *, can_cut: bool, has_window: bool = False) -> None:
        self.num_cells = num_cells
        self.can_cut = can_cut
        self.has_window = has_window
        self.slots: dict[int, list[tuple[int, int]]] = {}
        self.writers: dict[int, Sequence] = {}
        """Who computed the token in a cell, if it was not restored."""
        self._floors: defaultdict[int, int] = defaultdict(int)
        self._next_cell = itertools.count()

    @property
    def num_used(self) -> int:
        return len({cell for cells in self.slots.values() for cell, _ in cells})

    def length(self, slot: int) -> int:
        return len(self.slots.get(slot, []))

    def tokens(self, slot: int) -> list[int]:
        return [token for _, token in self.slots.get(slot, [])]

    def written_by(self, slot: int) -> Iterator[Sequence]:
        """Who computed what the slot holds."""
        cells = (cell for cell, _ in self.slots.get(slot, []))
        return (self.writers[cell] for cell in cells if cell in self.writers)

    def append(self, slot: int, tokens: Iterable[int], writer: Sequence | None = None) -> None:
        held = self.slots.setdefault(slot, [])
        for token in tokens:
            cell = next(self._next_cell)
            held.append((cell, token))
            if writer is not None:
                self.writers[cell] = writer
        assert self.num_used <= self.num_cells, "more tokens than KV cells"

    def floor(self, slot: int) -> int:
        return self._floors[slot]

    def lose(self, slot: int, count: int) -> None:
        """The cells of all but the window behind `count` tokens are needed by others."""
        self._floors[slot] = max(self._floors[slot], count)

    def cut(self, slot: int, start: int) -> bool:
        length = self.length(slot)
        if not self.can_cut and 0 < start < length:
            return False
        assert not 0 < start < self._floors[slot] or start >= length, "the window has left it"
        self.slots[slot] = self.slots.get(slot, [])[:start]
        if start == 0:
            self._floors[slot] = 0
        return True

    def copy(self, edit: Copy) -> None:
        assert self.length(edit.target) == 0, "the target of a copy is empty"
        assert 0 < edit.count <= self.length(edit.source)
        assert self.can_cut or edit.count == self.length(edit.source), "a state is copied whole"
        assert edit.count >= self._floors[edit.source], "the window has left it"
        self.slots[edit.target] = self.slots[edit.source][: edit.count]
        self._floors[edit.target] = self._floors[edit.source]

    def lose_moved(self, slots: Iterable[int]) -> None:
        """What recurrent memory loses with a batch of these slots that is not computed."""
        lost = list(slots)
        for slot in lost if len(lost) == 1 else list(self.slots):
            self.cut(slot, 0)

    def save(self, slot: int) -> State:
        return json.dumps(self.tokens(slot)).encode()

    def restore(self, slot: int, state: State) -> None:
        assert self.length(slot) == 0, "a state is restored into an empty slot"
        self.append(slot, json.loads(bytes(state)))
        if self.has_window:  # it takes the cells that all other windows have left
            for held in self.slots:
                self.lose(held, self.length(held))


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
        has_window: bool = False,
        next_token: NextToken = checksum_token,
    ) -> None:
        self.memory = FakeMemory(num_cells, can_cut=can_cut, has_window=has_window)
        self.token_budget = token_budget
        self.next_token = next_token
        self.before_run: Callable[[ScheduledBatch], None] = lambda batch: None
        self.partly_done = 0
        """Tokens of an aborted batch that are in memory all the same."""
        self.aborted = False
        self.num_runs = 0
        self.num_computed = 0
        """Rows of all batches but for the guesses, computed or aborted."""
        self.constrained: list[tuple[Sequence, str]] = []
        self.kept_states: list[Save] = []
        self.released: list[Sequence] = []

    def run(self, scheduled: ScheduledBatch) -> list[Output]:
        self.num_runs += 1
        for edit in scheduled.edits:
            self._edit(edit)
        self._check(scheduled)
        self.before_run(scheduled)
        if self.aborted:
            self._abort(scheduled)
        for chunk in scheduled.chunks:  # all rows at once: none makes room for another's
            self.num_computed += chunk.count
            self.memory.append(chunk.slot, [*_tokens(chunk), *chunk.draft], chunk.sequence)
        return [self._output(chunk) for chunk in scheduled.chunks]

    def keep(self, slot: int, count: int) -> int:
        if count > self.memory.length(slot) or not self.memory.cut(slot, count):
            self.memory.cut(slot, 0)
        return self.memory.length(slot)

    def save(self, slot: int) -> State:
        return self.memory.save(slot)

    def abort(self) -> None:
        self.aborted = True

    def clear_abort(self) -> None:
        self.aborted = False

    def constrain(self, sequence: Sequence, grammar: str) -> None:
        self.constrained.append((sequence, grammar))

    def release(self, sequence: Sequence) -> None:
        assert sequence not in self.released, "a sequence ends once"
        self.released.append(sequence)

    def _edit(self, edit: Edit) -> None:
        match edit:
            case Cut(slot, start):
                assert self.memory.cut(slot, start), "this memory can't be cut"
            case Copy():
                self.memory.copy(edit)
            case Restore(slot, tokens, state):
                self.memory.restore(slot, state)
                assert self.memory.tokens(slot) == tokens
            case Save(slot, tokens):
                assert self.memory.tokens(slot) == tokens
                assert all(s.request.reuse_cache for s in self.memory.written_by(slot))
                self.kept_states.append(edit)

    def _check(self, scheduled: ScheduledBatch) -> None:
        assert 0 < scheduled.num_tokens <= self.token_budget
        assert scheduled.num_tokens == sum(chunk.num_rows for chunk in scheduled.chunks)
        slots = [chunk.slot for chunk in scheduled.chunks]
        assert len(slots) == len(set(slots)), "one chunk for a slot"
        for chunk in scheduled.chunks:
            sequence = chunk.sequence
            assert chunk.count > 0
            assert self.memory.tokens(chunk.slot) == sequence.tokens[: chunk.start]
            assert chunk.is_last == (chunk.end == len(sequence.tokens))
            assert chunk.is_last or not chunk.draft
            for writer in self.memory.written_by(chunk.slot):
                is_shared = writer.request.reuse_cache and sequence.request.reuse_cache
                assert writer is sequence or is_shared, "what is not to be reused was"

    def _abort(self, scheduled: ScheduledBatch) -> None:
        rows = [
            (chunk, token)
            for chunk in scheduled.chunks
            for token in (*_tokens(chunk), *chunk.draft)
        ]
        for chunk, token in rows[: self.partly_done]:
            self.memory.append(chunk.slot, [token], chunk.sequence)
        if not self.memory.can_cut:
            self.memory.lose_moved(chunk.slot for chunk in scheduled.chunks)
        raise Aborted

    def _output(self, chunk: Chunk) -> Output:
        sequence = chunk.sequence
        held = self.memory.tokens(chunk.slot)
        if sequence.targets:
            return Output(
                scores=tuple(
                    TokenScore(checksum_score(held[: at + 1], target))
                    for at in range(chunk.start, chunk.end)
                    for target in sequence.targets_after(at)
                )
            )
        if not chunk.is_last:
            return Output()
        tokens: list[int] = []
        scores: list[TokenScore] = []
        for guess in (*chunk.draft, None):
            before = held[: chunk.end + len(tokens)]
            tokens.append(self.next_token(before))
            if sequence.request.params.logprobs is not None:
                scores.append(TokenScore(checksum_score(before, tokens[-1])))
            if tokens[-1] != guess or tokens[-1] == ByteVocabulary.END:
                break
        self.memory.cut(chunk.slot, chunk.end + len(tokens) - 1)
        return Output(tuple(tokens), tuple(scores))


def _tokens(chunk: Chunk) -> list[int]:
    return chunk.sequence.tokens[chunk.start : chunk.end]


def check_books(scheduler: Scheduler, memory: FakeMemory) -> None:
    """The scheduler's books of the KV cache agree with the memory."""
    cells = scheduler.cells
    for slot in scheduler.slots._slots:
        assert cells.length(slot.index) == memory.length(slot.index)
        if not slot.in_use:
            assert slot.tokens == memory.tokens(slot.index)
            wanted = all(s.request.reuse_cache for s in memory.written_by(slot.index))
            assert wanted or not slot.is_wanted
    for sequence in scheduler.running:
        assert sequence.slot is not None
        assert memory.tokens(sequence.slot) == sequence.tokens[: sequence.num_computed_tokens]
    assert cells.count - cells.num_free == memory.num_used
    idle = {s.index for s in scheduler.slots._slots if not s.in_use}
    held = {cell for slot, cs in memory.slots.items() if slot not in idle for cell, _ in cs}
    assert scheduler.slots.num_idle_cells == memory.num_used - len(held)


class FakeStates:
    """States that were saved, in memory; `is_whole` as in `SavedStates`."""

    def __init__(self, saved: Iterable[list[int]] = (), *, is_whole: bool) -> None:
        self.states: dict[tuple[int, ...], State] = {}
        self._is_whole = is_whole
        for tokens in saved:
            self.checkpoint(tokens, json.dumps(tokens).encode())

    def checkpoint(self, tokens: list[int], state: State) -> None:
        self.states[tuple(tokens)] = state

    def find(self, prompt: list[int], beyond: int) -> Saved | None:
        best: Saved | None = None
        for key, state in self.states.items():
            kept = common_prefix(list(key), prompt)
            if self._is_whole and kept < len(key):
                continue
            if kept > (best.kept if best else beyond):
                best = Saved(list(key), state, kept)
        return best


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
    """A next-token function: the model's reply to each prompt, byte by byte, then its end.

    After anything else than the reply it ends at once.
    """

    def __init__(self, replies: dict[str, bytes]) -> None:
        self._replies = {prompt.encode(): reply for prompt, reply in replies.items()}

    def __call__(self, tokens: list[int]) -> int:
        if ByteVocabulary.END in tokens:  # a guess went on after the end
            return ByteVocabulary.END
        text = bytes(tokens)
        prompt = max((p for p in self._replies if text.startswith(p)), key=len)
        reply = self._replies[prompt]
        done = len(text) - len(prompt)
        return reply[done] if done < len(reply) else ByteVocabulary.END


def sequence(
    prompt: list[int],
    name: str = "r",
    *,
    reuse: bool = True,
    priority: Priority = "interactive",
    conversation: str | None = None,
    targets: tuple[int, ...] = (),
    alternatives: tuple[tuple[int, int], ...] = (),
    checkpoints: tuple[int, ...] = (),
    max_tokens: int | None = None,
    speculate: bool = True,
) -> Sequence:
    request = GenerationRequest(
        name,
        prompt="",
        params=SamplingParams(max_tokens=max_tokens),
        reuse_cache=reuse,
        priority=priority,
        conversation=conversation,
        speculate=speculate,
    )
    return Sequence(
        request,
        list(prompt),
        0,
        0.0,
        targets=targets,
        alternatives=alternatives,
        checkpoints=checkpoints,
    )
