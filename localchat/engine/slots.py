"""Which tokens each slot of the KV cache holds, and which slot a prompt should go to.

A slot keeps its tokens after a reply, so the next turn of the same chat finds them. Nothing here
knows llama.cpp: a slot is a number and a list of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from localchat.engine.cells import CellLedger

# Uses of one prefix by later prompts after which it is worth a snapshot of its own.
_MUCH_USED = 3

_BLOCK = 64  # tokens compared at once


@dataclass(slots=True)
class Slot:
    index: int
    in_use: bool = False
    tokens: list[int] = field(default_factory=list)
    """What an idle slot's memory holds; a slot in use belongs to its sequence."""
    is_wanted: bool = True
    """Whether later prompts may continue what an idle slot holds."""
    conversation: str | None = None
    """Whose turn the slot ran last."""
    is_private: bool = False
    """What it holds must not be written to disk."""
    floor: int = 0
    """To fewer tokens than these its memory can't be cut back, nor can fewer be copied."""
    is_saved: bool = False
    num_uses: int = 0
    """How many prompts got a copy of the slot's beginning since it became idle."""
    last_used: int = 0

    @property
    def is_worth_saving(self) -> bool:
        is_needed = self.conversation is not None or self.num_uses >= _MUCH_USED
        return is_needed and self.is_wanted and not (self.is_saved or self.is_private)


@dataclass(frozen=True, slots=True)
class Placement:
    """`slot` is to hold the first `kept` tokens of slot `source`, often itself."""

    slot: int
    kept: int
    source: int


class SlotTable:
    """The slots of one context.

    `can_cut`: whether the memory can forget the end of a sequence. Where it can't (recurrent
    models), a slot is reused only if everything in it is a prefix of the prompt.
    """

    def __init__(self, count: int, cells: CellLedger, *, can_cut: bool) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._cells = cells
        self.can_cut = can_cut
        self._clock = 0
        self._num_idle_cells: int | None = None

    @property
    def num_idle(self) -> int:
        return sum(not slot.in_use for slot in self._slots)

    @property
    def num_idle_cells(self) -> int:
        """KV cells that only idle slots hold."""
        if self._num_idle_cells is None:
            idle = [slot.index for slot in self._slots if not slot.in_use and slot.tokens]
            self._num_idle_cells = self._cells.num_held_only_by(idle)
        return self._num_idle_cells

    def best(self, prompt: list[int], *, reuse: bool, conversation: str | None) -> Placement:
        """Where a prompt should run; some slot must be idle.

        The slot with the longest common prefix is taken over if it is the same conversation's or
        most of it is kept. Otherwise the prefix is copied to an empty slot, or to the one unused
        for longest, and both live on.
        """
        idle = [slot for slot in self._slots if not slot.in_use]
        oldest = min(idle, key=_worth)
        if not reuse:
            return Placement(oldest.index, 0, oldest.index)
        source = max(idle, key=lambda slot: self._reusable(slot, prompt))
        kept = self._reusable(source, prompt)
        if not kept:
            return Placement(oldest.index, 0, oldest.index)
        is_same = conversation is not None and source.conversation == conversation
        is_taken = is_same or kept * 2 >= len(source.tokens)
        if is_taken and source.num_uses < _MUCH_USED:
            return Placement(source.index, kept, source.index)
        return Placement(oldest.index, kept, source.index)

    def own(self, prompt: list[int], conversation: str | None, at_most: int) -> Placement:
        """Where a prompt should run that may reuse what its conversation has left, and no more
        than so many tokens of it; some slot must be idle."""
        oldest = self.oldest()
        idle = [slot for slot in self._slots if not slot.in_use]
        own = [s for s in idle if conversation is not None and s.conversation == conversation]
        if not own:
            return Placement(oldest, 0, oldest)
        source = max(own, key=lambda slot: self._reusable(slot, prompt))
        kept = min(self._reusable(source, prompt), at_most)
        least = source.floor if self.can_cut else len(source.tokens)
        return Placement(source.index, kept if kept >= least else 0, source.index)

    def oldest(self) -> int:
        """The idle slot that is missed least: an empty one, or the one unused for longest."""
        return min((slot for slot in self._slots if not slot.in_use), key=_worth).index

    def take(self, index: int) -> Slot:
        """Marks the slot as used; returns what it was and held."""
        slot = self._slots[index]
        assert not slot.in_use, "a slot serves one sequence at a time"
        before = self._empty(slot)
        self._slots[index].in_use = True
        return before

    def give_back(
        self,
        index: int,
        tokens: list[int],
        *,
        wanted: bool = True,
        conversation: str | None = None,
        private: bool = False,
    ) -> None:
        """The slot is idle again; its memory holds `tokens`, which later prompts may continue.

        If they are not `wanted`, nothing continues them and they are the first to go. `private`
        ones never get a snapshot.
        """
        slot = self._slots[index]
        assert slot.in_use, "only a slot in use can be given back"
        self._clock += 1
        slot.in_use, slot.tokens, slot.last_used = False, tokens, self._clock
        slot.is_wanted = wanted or not tokens
        slot.conversation = conversation
        slot.is_private = private
        self._num_idle_cells = None

    def copied_from(self, index: int) -> None:
        """A prompt got a copy of the idle slot's beginning: it is worth keeping."""
        slot = self._slots[index]
        self._clock += 1
        slot.last_used = self._clock
        slot.num_uses += 1

    def learn_floors(self, floor: Callable[[int], int]) -> None:
        """Sets the floor of each idle slot to `floor(index)`."""
        for slot in self._holding():
            slot.floor = floor(slot.index)

    def drop_lost(self, keep: Callable[[int, int], int]) -> list[int]:
        """Empties the idle slots whose memory does not hold their tokens any more; returns which.

        `keep` as in `Scheduler.roll_back`.
        """
        self._num_idle_cells = None  # running sequences may have let go of cells that they shared
        lost = [slot for slot in self._holding() if not keep(slot.index, len(slot.tokens))]
        return [self._empty(slot).index for slot in lost]

    def evict(self) -> Slot | None:
        """Empties an idle slot: an unwanted one, else the one unused for longest.

        Returns what it was and held; None if every idle slot is empty.
        """
        held = self._holding()
        return self._empty(min(held, key=_worth)) if held else None

    def holds_too_much(self, limit: int) -> bool:
        """Whether `evict` should be called: for an unwanted slot, or for more than `limit` cells.

        The slot used last is spared, however much it holds.
        """
        held = self._holding()
        if any(not slot.is_wanted for slot in held):
            return True
        if len(held) < 2 or sum(len(slot.tokens) for slot in held) <= limit:
            return False
        return self.num_idle_cells > limit

    def next_to_save(self, at_least: int) -> Slot | None:
        """An idle slot of `at_least` tokens that is worth a snapshot and has none yet."""
        for slot in self._slots:
            if not slot.in_use and slot.is_worth_saving and len(slot.tokens) >= at_least:
                return slot
        return None

    def _holding(self) -> list[Slot]:
        return [slot for slot in self._slots if not slot.in_use and slot.tokens]

    def _empty(self, slot: Slot) -> Slot:
        """Puts an empty slot in its place; returns the old one."""
        self._slots[slot.index] = Slot(slot.index)
        self._num_idle_cells = None
        return slot

    def _reusable(self, slot: Slot, prompt: list[int]) -> int:
        if not slot.is_wanted:
            return 0
        common = common_prefix(slot.tokens, prompt)
        least = slot.floor if self.can_cut else len(slot.tokens)
        return common if common >= least else 0


def _worth(slot: Slot) -> tuple[bool, bool, int]:
    """Orders idle slots by how much they would be missed."""
    return bool(slot.tokens), slot.is_wanted, slot.last_used


def common_prefix(left: list[int], right: list[int]) -> int:
    """How many tokens at the start are the same."""
    length = min(len(left), len(right))
    for start in range(0, length, _BLOCK):
        end = min(start + _BLOCK, length)
        if left[start:end] != right[start:end]:  # lists compare without a loop of ours
            return next(i for i in range(start, end) if left[i] != right[i])
    return length
