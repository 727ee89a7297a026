"""Which tokens each slot of the KV cache holds, and which slot a prompt should go to.

A slot keeps its tokens after a reply, so the next turn of the same chat finds them. Nothing here
knows llama.cpp: a slot is a number and a list of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Slot:
    index: int
    in_use: bool = False
    tokens: list[int] = field(default_factory=list)
    """What an idle slot's memory holds; a slot in use belongs to its sequence."""
    is_wanted: bool = True
    """Whether later prompts may continue what an idle slot holds."""
    last_used: int = 0


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

    def __init__(self, count: int, *, can_cut: bool) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._can_cut = can_cut
        self._clock = 0
        self._num_unwanted = 0
        self.num_idle_tokens = 0
        """KV cells held by slots that nobody uses."""

    @property
    def has_idle(self) -> bool:
        return any(not slot.in_use for slot in self._slots)

    def best(self, prompt: list[int], *, reuse: bool) -> Placement:
        """Where a prompt should run; some slot must be idle.

        The slot with the longest common prefix is taken over if that keeps most of it. Otherwise
        the prefix is copied to an empty slot, or to the one unused for longest, and both live on.
        """
        idle = [slot for slot in self._slots if not slot.in_use]
        oldest = min(idle, key=lambda slot: (bool(slot.tokens), slot.last_used))
        if not reuse:
            return Placement(oldest.index, 0, oldest.index)
        source = max(idle, key=lambda slot: self._reusable(slot, prompt))
        kept = self._reusable(source, prompt)
        slot = source if kept and kept * 2 >= len(source.tokens) else oldest
        return Placement(slot.index, kept, source.index if kept else slot.index)

    def take(self, index: int) -> int:
        """Marks the slot as used; returns how many tokens its memory holds."""
        slot = self._slots[index]
        assert not slot.in_use, "a slot serves one sequence at a time"
        slot.in_use = True
        return self._empty(slot)

    def give_back(self, index: int, tokens: list[int], *, wanted: bool = True) -> None:
        """The slot is idle again; its memory holds `tokens`, which later prompts may continue.

        If they are not `wanted`, nothing continues them and they are the first to go.
        """
        slot = self._slots[index]
        assert slot.in_use, "only a slot in use can be given back"
        self._clock += 1
        slot.in_use, slot.tokens, slot.last_used = False, tokens, self._clock
        slot.is_wanted = wanted or not tokens
        self._num_unwanted += not slot.is_wanted
        self.num_idle_tokens += len(tokens)

    def evict(self) -> tuple[int, int] | None:
        """Empties an idle slot: an unwanted one, else the one unused for longest.

        Returns it with the number of cells that this frees; None if every idle slot is empty.
        """
        held = self._holding()
        if not held:
            return None
        oldest = min(held, key=lambda slot: (slot.is_wanted, slot.last_used))
        return oldest.index, self._empty(oldest)

    def holds_too_much(self, limit: int) -> bool:
        """Whether `evict` should be called: for an unwanted slot, or for more than `limit` tokens.

        The slot used last is spared, however much it holds.
        """
        if self.num_idle_tokens > limit and len(self._holding()) > 1:
            return True
        return self._num_unwanted > 0

    def _holding(self) -> list[Slot]:
        return [slot for slot in self._slots if not slot.in_use and slot.tokens]

    def _empty(self, slot: Slot) -> int:
        held = len(slot.tokens)
        self.num_idle_tokens -= held
        self._num_unwanted -= not slot.is_wanted
        slot.tokens, slot.is_wanted = [], True
        return held

    def _reusable(self, slot: Slot, prompt: list[int]) -> int:
        if not slot.is_wanted:
            return 0
        # The last token is computed again: its logits choose the first token of the reply.
        common = _common_prefix(slot.tokens, prompt[:-1])
        if not self._can_cut and common < len(slot.tokens):
            return 0
        return common


def _common_prefix(left: list[int], right: list[int]) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))
