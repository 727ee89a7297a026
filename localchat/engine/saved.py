"""States that prompts can go on from: checkpoints in memory, snapshots on disk."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from localchat.engine.scheduled import State
from localchat.engine.slots import common_prefix
from localchat.engine.snapshots import SnapshotStore

# All checkpoints together. Those of recurrent models take some MB each.
_CHECKPOINT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Saved:
    tokens: list[int]
    """What the state holds."""
    state: State
    kept: int
    """How many of them begin the prompt."""


class SavedStates:
    """`is_whole`: the end of a restored state can't be forgotten, so it must fit whole.

    That is so for recurrent models, and for sliding windows: what had left the window when the
    state was saved is not in it.
    """

    def __init__(self, snapshots: SnapshotStore | None, *, is_whole: bool) -> None:
        self._snapshots = snapshots
        self._is_whole = is_whole
        self._checkpoints: OrderedDict[tuple[int, ...], State] = OrderedDict()
        self._num_bytes = 0

    def checkpoint(self, tokens: list[int], state: State) -> None:
        """Keeps a state in memory; the ones unused for longest make room."""
        key = tuple(tokens)
        self._forget(key)
        self._checkpoints[key] = state
        self._num_bytes += len(state)
        while self._num_bytes > _CHECKPOINT_BYTES:
            self._forget(next(iter(self._checkpoints)))

    def find(self, prompt: list[int], beyond: int) -> Saved | None:
        """The state that holds the longest beginning of the prompt, if it is longer than `beyond`.

        Reads it from disk if it is there; one that turns out to be damaged is passed over.
        """
        found = self._find_checkpoint(prompt, beyond)
        if found is not None or self._snapshots is None or len(prompt) <= beyond:
            return found
        while snapshot := self._snapshots.find(prompt, whole=self._is_whole):
            tokens = snapshot.tokens
            kept = common_prefix(tokens, prompt)
            if kept <= beyond:
                break
            state = self._snapshots.read(snapshot)
            if state is not None:
                return Saved(tokens, state, kept)
        return None

    def _find_checkpoint(self, prompt: list[int], beyond: int) -> Saved | None:
        fitting = [
            key
            for key in self._checkpoints
            if beyond < len(key) <= len(prompt) and prompt[: len(key)] == list(key)
        ]
        if not fitting:
            return None
        key = max(fitting, key=len)
        self._checkpoints.move_to_end(key)
        return Saved(list(key), self._checkpoints[key], len(key))

    def _forget(self, key: tuple[int, ...]) -> None:
        state = self._checkpoints.pop(key, None)
        if state is not None:
            self._num_bytes -= len(state)
