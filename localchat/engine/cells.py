"""Which cells of the KV cache each slot's tokens are in. Cells may belong to several slots.

A mirror, in integers, of what llama.cpp's unified KV cache does: copying a prefix between slots
takes no cells, and a cell is free again when the last slot that holds it lets go.
"""

from __future__ import annotations

from itertools import islice


class CellLedger:
    """The books of `count` cells, one a token, and `num_slots` slots."""

    def __init__(self, count: int, num_slots: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._holders = [0] * count
        self._cells: list[list[int]] = [[] for _ in range(num_slots)]

    @property
    def num_free(self) -> int:
        return len(self._free)

    def length(self, slot: int) -> int:
        """Tokens of the slot that are in memory."""
        return len(self._cells[slot])

    def append(self, slot: int, count: int) -> None:
        """The slot gets `count` tokens more, each in a free cell."""
        assert count <= len(self._free), "more tokens than KV cells"
        for _ in range(count):
            cell = self._free.pop()
            self._holders[cell] = 1
            self._cells[slot].append(cell)

    def cut(self, slot: int, start: int) -> None:
        """The slot keeps its first `start` tokens."""
        cells = self._cells[slot]
        for cell in islice(cells, start, None):
            self._holders[cell] -= 1
            if self._holders[cell] == 0:
                self._free.append(cell)
        del cells[start:]

    def copy(self, source: int, target: int, count: int) -> None:
        """The empty slot `target` shares the first `count` cells of `source`."""
        assert not self._cells[target], "the target of a copy is empty"
        assert count <= len(self._cells[source])
        shared = self._cells[source][:count]
        for cell in shared:
            self._holders[cell] += 1
        self._cells[target] = shared

    def num_held_only_by(self, slots: list[int]) -> int:
        """Cells that would be free if all of `slots` let go."""
        holders: dict[int, int] = {}
        for slot in slots:
            for cell in self._cells[slot]:
                holders[cell] = holders.get(cell, 0) + 1
        return sum(self._holders[cell] == held for cell, held in holders.items())
